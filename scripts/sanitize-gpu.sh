#!/usr/bin/env bash
# compute-sanitizer over every CUDA kernel at small shapes: memcheck and racecheck, within three minutes. Needs a GPU, nvcc's
# compute-sanitizer and a python3 with torch; the kernels are build-cuda/libgradcache_cuda.so, or the library named.
#   scripts/sanitize-gpu.sh [LIBRARY]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
library=${1:-build-cuda/libgradcache_cuda.so}
[ -f "$library" ] || { echo "There is no $library: build the kernels, or name the library." >&2; exit 2; }
sanitizer=$(command -v compute-sanitizer || ls -d /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -n 1)
[ -n "$sanitizer" ] || { echo 'compute-sanitizer is not installed: it comes with the CUDA toolkit.' >&2; exit 2; }
logs=${OUT:-$(mktemp -d)}

# Only our kernels are checked, where this sanitizer can be told so: torch's own take most of the time.
filter=()
for option in '--kernel-regex kns=gradcache' '--kernel-name kernel_substring=gradcache' '--filter kns=gradcache'; do
  # A program without CUDA: a sanitizer that knows the option says that nothing was instrumented.
  if "$sanitizer" $option true 2>&1 | grep -q 'before first instrumented'; then
    read -ra filter <<<"$option"
    break
  fi
done
echo "$sanitizer ${filter[*]:-(all kernels)}"

# All four at once: each mostly waits for its own launches.
for tool in memcheck racecheck; do
  for program in rows attention; do
    (
      timeout 170 "$sanitizer" --tool "$tool" --error-exitcode 9 ${filter[@]+"${filter[@]}"} \
        python3 "bench/kernels/$program.py" --small --library "$library" >"$logs/$tool-$program.log" 2>&1
      echo $? >"$logs/$tool-$program.code"
    ) &
  done
done
wait
failed=0
for tool in memcheck racecheck; do
  for program in rows attention; do
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
