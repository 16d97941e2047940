#!/usr/bin/env bash
# compute-sanitizer over every CUDA kernel at small shapes, torch's own among them: memcheck and racecheck, in about three
# minutes. Needs a GPU, nvcc's compute-sanitizer and a python3 with torch; the kernels are build-cuda/libgradcache_cuda.so,
# or the library named.
#   scripts/sanitize-gpu.sh [LIBRARY]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
library=${1:-build-cuda/libgradcache_cuda.so}
[ -f "$library" ] || { echo "There is no $library: build the kernels, or name the library." >&2; exit 2; }
sanitizer=$(command -v compute-sanitizer || ls -d /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -n 1)
[ -n "$sanitizer" ] || { echo 'compute-sanitizer is not installed: it comes with the CUDA toolkit.' >&2; exit 2; }
logs=${OUT:-$(mktemp -d)}

# All at once: each mostly waits for its own launches.
for tool in memcheck racecheck; do
  for program in rows attention recurrence similarity; do
    (
      timeout 400 "$sanitizer" --tool "$tool" --error-exitcode 9 \
        python3 "test/cuda/$program.py" --small --library "$library" >"$logs/$tool-$program.log" 2>&1
      echo $? >"$logs/$tool-$program.code"
    ) &
  done
done
wait
failed=0
for tool in memcheck racecheck; do
  for program in rows attention recurrence similarity; do
    code=$(cat "$logs/$tool-$program.code")
    rm -f "$logs/$tool-$program.code"
    summary=$(grep -E '(ERROR|RACECHECK) SUMMARY' "$logs/$tool-$program.log" | tail -n 1)
    checks=$(grep -c '^ok' "$logs/$tool-$program.log")
    verdict=clean
    if [ "$code" -ne 0 ] || [ -z "$summary" ] || [ "$checks" -eq 0 ]; then
      verdict="FAILED (code $code)"
      failed=1
    fi
    echo "$tool, $program.py: $verdict; $checks cases; ${summary#*========= }"
    [ "$verdict" = clean ] || tail -n 15 "$logs/$tool-$program.log"
  done
done
exit $failed
