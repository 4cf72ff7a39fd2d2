# Prints the version of what is checked out, or nothing where git knows none. The newest
# tag vN.N.N gives it, and what was committed since; without one the commit's time
# does, in UTC: a later commit sorts after an earlier one of the same day.
if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
	# An unreleased version sorts after the release before it; git's hyphens are not
	# allowed in rpm's.
	echo "$described" | sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/; s/-/~/'
else
	TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format='0.0.0~%cd.%h' 2>/dev/null || true
fi
