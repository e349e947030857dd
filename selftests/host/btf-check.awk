# SPDX-License-Identifier: GPL-2.0-only
# Is the BTF of a kernel whole for the kfuncs we use?  Reads `bpftool btf dump file vmlinux format raw`.
#   awk -v kfuncs=sched_spare/bpf/kfuncs.txt -f btf-check.awk dump
# A kfunc with an implicit argument (KF_IMPLICIT_ARGS) appears with its public prototype plus an `_impl` twin.
# Where the build left the twin out, the prototype still ends in `struct bpf_prog_aux *aux`, and the verifier refuses
# every program that calls it.  Prints "missing NEED", "broken NEED" (of those listed; what a line may be, the list says) and last
# "total N": how many scx kfuncs of this kernel are broken, used or not.
BEGIN {
	while ((getline line < kfuncs) > 0) {
		sub(/#.*/, "", line)
		n = split(line, word, /[ \t]+/)
		for (i = 1; i <= n; i++)
			if (word[i] != "")
				want[word[i]] = 1
	}
	for (need in want)
		if (need ~ /[.]/)
			for (i = split(need, word, /[.]/); i > 1; i--)
				is_part[word[i]] = 1
}
/^\[/ {
	id = substr($1, 2, length($1) - 2)
	kind = $2
	name = $3
	gsub(/'/, "", name)
	type = ""
	for (i = 4; i <= NF; i++)
		if ($i ~ /^type_id=/)
			type = substr($i, 9)
	if (kind == "FUNC")
		func_proto[name] = type
	else if (kind == "PTR" || kind == "CONST")
		pointee[id] = type
	else if (kind == "STRUCT") {
		struct_id[name] = id
		if (name == "bpf_prog_aux")
			aux[id] = 1
	}
	proto = kind == "FUNC_PROTO" ? id : ""
	struct = kind == "STRUCT" ? id : ""
	next
}
struct != "" {
	gsub(/'/, "", $1)
	if ($1 in is_part)
		member[struct, $1] = substr($2, 9)
	next
}
proto != "" && $2 ~ /^type_id=/ { last_arg[proto] = substr($2, 9) }
function is_broken(f) {
	if (!(f in func_proto) || (f "_impl") in func_proto)
		return 0
	target = pointee[last_arg[func_proto[f]]]
	return target in aux || pointee[target] in aux # also behind a const
}
function has_field(path, part, n, i, id) {
	n = split(path, part, /[.]/)
	id = struct_id[part[1]]
	for (i = 2; i <= n && id != ""; i++)
		id = member[id, part[i]]
	return id != ""
}
# of "newer|older" the better one
function state(need, form, n, i, found) {
	if (need ~ /[.]/)
		return has_field(need) ? "whole" : "missing"
	found = "missing"
	n = split(need, form, /[|]/)
	for (i = 1; i <= n; i++) {
		if (!(form[i] in func_proto))
			continue
		if (!is_broken(form[i]))
			return "whole"
		found = "broken"
	}
	return found
}
END {
	for (need in want)
		if (state(need) != "whole")
			print state(need) " " need
	for (f in func_proto)
		if (f ~ /^(scx_bpf_|bpf_iter_scx_)/ && f !~ /_impl$/ && is_broken(f))
			total++
	print "total " total + 0
}
