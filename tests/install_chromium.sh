#!/bin/sh
# Gets a browser for the report's tests where it can be had; called by the Makefile, never fails.
#
# Playwright's own browsers come from an address that many machines cannot reach; Debian's Chromium
# comes from where all other packages do. It is installed only by root (a container, CI). Without a
# browser those tests skip, saying so. BFPO_CHROMIUM names one that lies elsewhere.
set -u
if ! $INSTALL 'playwright>=1.50'; then
    echo "playwright cannot be installed here; tests of the report in a browser will skip."
    exit 0
fi
for browser in "${BFPO_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$browser" ] && command -v "$browser" >/dev/null; then
        exit 0
    fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no Chromium found; tests of the report in a browser will skip."
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null; then
    echo "Chromium cannot be installed here; tests of the report in a browser will skip."
fi
exit 0
