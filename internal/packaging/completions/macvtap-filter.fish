# Completion for fish. The program itself says what may follow; where it says nothing,
# files may.
function __macvtap_filter
    set -l words (commandline -opc) (commandline -ct)
    macvtap-filter complete -- $words[2..] 2>/dev/null
end
complete -c macvtap-filter -a '(__macvtap_filter)'
complete -c macvtap-filter -n 'count (__macvtap_filter) >/dev/null' -f
