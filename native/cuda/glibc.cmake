# The CUDA runtime, linked in, calls functions that glibc 2.34 moved into libc.so.6 under a new version: linked on such a
# system the library would refuse every older one. So it is linked against stand-ins for the old homes of these functions.
# They hold names and versions only, and never run: every glibc, old and new, brings the real ones under both.
function(gradcache_use_old_glibc target)
  if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
    return()
  endif()
  set(condattr setpshared)
  set(mutexattr destroy init setpshared settype)
  set(rwlock destroy init rdlock timedrdlock timedwrlock tryrdlock trywrlock unlock wrlock)
  set(rwlockattr destroy init setpshared)
  set(spin destroy init lock trylock unlock)
  set(pthread create detach getspecific join key_create key_delete kill mutex_trylock once setspecific)
  foreach(family condattr mutexattr rwlock rwlockattr spin)
    foreach(name ${${family}})
      list(APPEND pthread ${family}_${name})
    endforeach()
  endforeach()
  list(TRANSFORM pthread PREPEND pthread_)
  list(APPEND pthread sem_destroy sem_init sem_post sem_timedwait sem_trywait sem_wait)

  gradcache_old_library(${target} libpthread.so.0 "GLIBC_2.2.5" "${pthread}" "")
  gradcache_old_library(${target} libdl.so.2 "GLIBC_2.2.5" "dlclose;dlerror;dlopen;dlsym;dlvsym" "dlmopen")
  gradcache_old_library(${target} librt.so.1 "GLIBC_2.2.5" "shm_open;shm_unlink" "")
endfunction()

# A shared library with the soname `file` that claims to define `names` under `version`, and `later` under GLIBC_2.3.4.
function(gradcache_old_library target file version names later)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/glibc/${target})
  set(source "")
  set(map "${version} { global: ")
  foreach(name ${names} ${later})
    string(APPEND source "void ${name}(void) {}\n")
  endforeach()
  foreach(name ${names})
    string(APPEND map "${name}; ")
  endforeach()
  string(APPEND map "local: *; };\n")
  if(later)
    string(APPEND map "GLIBC_2.3.4 { global: ${later}; } ${version};\n")
  endif()
  file(CONFIGURE OUTPUT ${folder}/${file}.c CONTENT "${source}")
  file(CONFIGURE OUTPUT ${folder}/${file}.map CONTENT "${map}")
  add_custom_command(OUTPUT ${folder}/${file}
    COMMAND ${CMAKE_C_COMPILER} -shared -fPIC -w -ffreestanding -nostdlib -Wl,-soname,${file}
      -Wl,--version-script=${folder}/${file}.map -o ${folder}/${file} ${folder}/${file}.c
    DEPENDS ${folder}/${file}.c ${folder}/${file}.map VERBATIM)
  add_custom_target(${target}-${file} DEPENDS ${folder}/${file})
  add_dependencies(${target} ${target}-${file})
  # Before libc.so.6 on the link line, so that its names are taken from here.
  target_link_options(${target} BEFORE PRIVATE -Wl,--push-state,--no-as-needed,${folder}/${file},--pop-state)
endfunction()
