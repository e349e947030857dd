#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Every test that FAULTS.md names is there, under that name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/ktap.sh"
cd "$here/../.."

# Of each row: `file` "name", "name"; `file` ... Prints what is not there.
missing() {
	python3 - <<-'END'
		import os, re
		bad = seen = 0
		for line in open("selftests/FAULTS.md", encoding="utf-8"):
		    cells = line.strip().strip("|").split(" | ")
		    if not re.match(r"\|? ?[RDM]\d+ ", line):
		        continue
		    if len(cells) != 3:
		        print(f"not three cells: {line[:60]}"); bad += 1
		        continue
		    seen += 1
		    path = ""
		    for file, name in re.findall(r'`([^`]+)`|"([^"]+)"', cells[2]):
		        if file:
		            found = [f for f in (file, f"selftests/{file}") if os.path.isfile(f)]
		            path = found[0] if found else ""
		            if "/" in file and not path:
		                print(f"no file {file}"); bad += 1
		        elif path and name not in open(path, encoding="utf-8").read().replace('\\"', '"'):
		            print(f"{path} has no '{name}'"); bad += 1
		print(f"{seen} faults")
		raise SystemExit(bad > 0 or seen != 81)
	END
}

ktap_plan 1
ktap_check 'FAULTS.md names tests that are there' missing
ktap_done
