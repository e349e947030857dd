# SPDX-License-Identifier: GPL-2.0-only

# kbuild_module(target): builds sched_spare.ko with the kernel's own build system.
#
# Kbuild writes beside its sources, and the source tree may be read-only, so the sources are copied (only what changed)
# into the build directory first. Which file makes which object is Kbuild's business: it runs at every build and decides.
function(kbuild_module target)
  if(NOT EXISTS "${PROJECT_SOURCE_DIR}/Kbuild")
    message(STATUS "no Kbuild file: the module is left out")
    return()
  endif()
  if(NOT EXISTS "${SPARE_HEADERS}/Makefile")
    message(FATAL_ERROR "no kernel headers in ${SPARE_HEADERS}: install linux-headers-${SPARE_KERNEL} or set SPARE_HEADERS")
  endif()

  # The headers name the compiler that built the kernel; a plain gcc does when that one is not here.
  set(compiler "")
  file(STRINGS "${SPARE_HEADERS}/.config" version_text REGEX "^CONFIG_CC_VERSION_TEXT=")
  if(SPARE_MODULE_MAKE STREQUAL "make" AND version_text MATCHES "=\"([^ \"]+)")
    find_program(SPARE_KERNEL_CC NAMES "${CMAKE_MATCH_1}")
    if(NOT SPARE_KERNEL_CC)
      message(STATUS "the kernel's compiler ${CMAKE_MATCH_1} is not installed: building the module with gcc")
      set(compiler CC=gcc)
    endif()
  endif()

  set(work "${PROJECT_BINARY_DIR}/kbuild")
  add_custom_target(${target} ALL
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${work}/sched_spare"
    COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${PROJECT_SOURCE_DIR}/Kbuild" "${work}/Kbuild"
    COMMAND "${CMAKE_COMMAND}" -E copy_directory_if_different "${PROJECT_SOURCE_DIR}/kmod" "${work}/kmod"
    COMMAND "${CMAKE_COMMAND}" -E copy_directory_if_different
            "${PROJECT_SOURCE_DIR}/sched_spare/include" "${work}/sched_spare/include"
    COMMAND ${SPARE_MODULE_MAKE} -C "${SPARE_HEADERS}" "M=${work}" ${compiler} modules
    BYPRODUCTS "${work}/kmod/sched_spare.ko"
    COMMENT "Kbuild: sched_spare.ko"
    VERBATIM)
  add_dependencies(demo ${target})
  set(dir "${SPARE_MODULE_DIR}")
  if(NOT dir)
    set(dir "/lib/modules/${SPARE_KERNEL}/updates")
  endif()
  install(FILES "${work}/kmod/sched_spare.ko" DESTINATION "${dir}" COMPONENT demo)
  # (Below another root, as for a package, whoever installs that runs depmod.)
  if(NOT SPARE_MODULE_DIR)
    find_program(SPARE_DEPMOD depmod PATHS /usr/sbin /sbin REQUIRED)
    install(CODE "if(\"\$ENV{DESTDIR}\" STREQUAL \"\")
      execute_process(COMMAND ${SPARE_DEPMOD} ${SPARE_KERNEL} COMMAND_ERROR_IS_FATAL ANY)
    endif()" COMPONENT demo)
  endif()
endfunction()
