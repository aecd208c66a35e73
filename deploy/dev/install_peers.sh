#!/usr/bin/env bash
# Installs the peers that the demo and the integration tests use: Orthanc, DCMTK, PostgreSQL, Node.js and the FHIR peer's packages.
# On Debian or Ubuntu as root or with sudo; elsewhere it says what is missing and what cannot run then. It never fails the set-up.
# orthanc-gdcm is left out on purpose: it aborts the server on previews of segmentations without Image Orientation.
set -u
here="$(cd "$(dirname "$0")" && pwd)"

has() { command -v "$1" >/dev/null 2>&1; }
missing=()
has Orthanc || missing+=(orthanc)
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
[ -x /usr/bin/storescu ] || missing+=(dcmtk)
[ -x /usr/bin/chromium ] || missing+=(chromium)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
has node || missing+=(nodejs)
has npm || missing+=(npm)
has cc || missing+=(gcc libc6-dev)

if [ ${#missing[@]} -gt 0 ] && has apt-get; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  if [ "$(id -u)" -eq 0 ] || { has sudo && sudo -n true 2>/dev/null; }; then
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "apt-get is here, but neither root nor sudo without a password"
  fi
fi

tell() { echo "missing: $1. Without it: $2"; }
has Orthanc || tell orthanc "the demo uses a small storage SCP instead of a PACS; tests/integration fail"
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || tell orthanc-dicomweb "no DICOMweb view of the demo's PACS"
[ -x /usr/bin/storescu ] || tell dcmtk "tests that send and read with DCMTK fail"
[ -x /usr/bin/chromium ] || tell chromium "tests/browser, which answer results on their page, fail"
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || tell postgresql "tests on PostgreSQL fail"
has cc || tell gcc "the fault suite cannot move the clock: its tests of clock jumps fail"
if has npm; then
  (cd "$here/fhir_peer" && npm ci --silent --no-audit --no-fund --legacy-peer-deps) || tell "the FHIR peer's npm packages" "a Python recorder stands in for the FHIR server"
else
  tell nodejs "a Python recorder stands in for the FHIR server; tests of FHIR against a server fail"
fi
exit 0
