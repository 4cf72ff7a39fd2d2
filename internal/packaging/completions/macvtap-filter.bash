# Completion for bash. The program itself says what may follow.
_macvtap_filter() {
	local cur=${COMP_WORDS[COMP_CWORD]} line
	COMPREPLY=()
	while IFS= read -r line; do
		line=${line%%$'\t'*}
		[[ $line == "$cur"* ]] && COMPREPLY+=("$(printf %q "$line")")
	done < <(macvtap-filter complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	[[ $cur == -* ]] || ((${#COMPREPLY[@]})) || compopt -o default 2>/dev/null
}
complete -F _macvtap_filter macvtap-filter
