#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 14400
#
# guests.sh - realtime/guests.sh with 200 guests ($SPARE_ROUNDS).
set -euo pipefail
SPARE_ROUNDS=${SPARE_ROUNDS:-200} exec bash "$(dirname "$0")/../realtime/guests.sh"
