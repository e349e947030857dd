# SPDX-License-Identifier: GPL-2.0-only
# Reads what runner.sh prints; writes one line per result as it comes, and to the file `results` "pass|fail|skip<TAB>name<TAB>why"
# "time<TAB>script<TAB>seconds", and "speed<TAB>script<TAB>units" for each look at the machine's speed (spare-speed), as it is at k = 1.
# A script fails also when it says nothing, breaks its plan, ends with a bad status, runs over its limit, leaves something behind,
# upsets the kernel, or never ends because the host died.
function result(what, name, why) {
	printf "%-4s %s%s\n", what, name, why == "" ? "" : " (" why ")"
	printf "%s\t%s\t%s\n", what, name, why >>results
	fflush()
	fflush(results) # others append to it, too: whole lines only
}
function fail_script(why) {
	failed++
	result("fail", current, why)
}
{ sub(/\r$/, "") }
/^@@ begin / {
	if (current != "")
		fail_script("it never ended")
	current = $3; limit = $4; plan = -1; count = failed = skipped_all = 0
	next
}
/^@@ kernel / {
	sub(/^@@ kernel /, "")
	print "     | " $0
	if (!trouble[current]++)
		fail_script("the kernel complained, see above")
	next
}
/^@@ left / {
	sub(/^@@ left /, "")
	fail_script("left behind: " $0)
	next
}
/^@@ end / {
	status = $4; seconds = $5
	if (status == 124 || status == 137)
		fail_script("did not end within its " limit " s")
	else if (skipped_all)
		;
	else if (plan < 0 && count == 0)
		fail_script("no result, status " status)
	else if (plan != count)
		fail_script("planned " plan ", got " count " results, status " status)
	else if (status != 0 && !failed)
		fail_script("status " status)
	printf "     %s: %d s\n", current, seconds
	printf "time\t%s\t%d\n", current, seconds >>results
	fflush(results)
	fflush()
	current = ""
	next
}
/^@@ speed_before / { speed = $3; next }
/^@@ dilation / {
	printf "speed\t%s\t%d\n", current, speed / $3 >>results
	fflush(results)
	next
}
/^@@ / { next }
/^1\.\.[0-9]+/ {
	plan = substr($1, 4) + 0
	if (plan == 0) {
		skipped_all = 1
		sub(/^[^#]*# *SKIP */, "")
		result("skip", current, $0)
	}
	next
}
/^ok / || /^not ok / {
	count++
	good = /^ok /
	line = $0
	sub(/^(not )?ok [0-9]* *(- )?/, "", line)
	if (match(line, /# *SKIP/)) {
		why = substr(line, RSTART + RLENGTH)
		sub(/^ */, "", why)
		sub(/ *# *SKIP.*/, "", line)
		result("skip", current " " line, why)
	} else if (good)
		result("pass", current " " line)
	else {
		failed++
		result("fail", current " " line)
	}
	next
}
/^KTAP version/ { next }
/^[ \t]/ { next } # a nested KTAP's results are summed up by its parent
current != "" && NF { print "     " ($0 ~ /^#/ ? "" : "| ") $0; fflush() }
END {
	if (current != "")
		fail_script("the host died or hung in it")
}
