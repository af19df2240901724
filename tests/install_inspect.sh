#!/bin/sh
# Gets inspect_ai, whose own reader tests our logs, into an environment of its own: it wants a newer
# fsspec than datasets allows. Called by the Makefile, never fails; a minute or two the first time.
#
# BFPO_INSPECT names the Python of such an environment that lies elsewhere.
set -u
VERSION=0.3.285
HOME_OF=${XDG_CACHE_HOME:-$HOME/.cache}/bfpo-bench/inspect-$VERSION
if [ -n "${BFPO_INSPECT:-}" ] || [ -f "$HOME_OF/.ready" ]; then
    exit 0
fi
if ! { ${PYTHON:-python3} -m venv "$HOME_OF" \
    && "$HOME_OF/bin/python" -m pip --disable-pip-version-check install -q "inspect_ai==$VERSION"; } \
    >/dev/null 2>&1; then
    echo "inspect_ai cannot be installed here; tests that read our logs with it will skip."
    exit 0
fi
touch "$HOME_OF/.ready"
