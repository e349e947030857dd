# SPDX-License-Identifier: GPL-2.0-only

# bpf_object(name SOURCE file INCLUDES dir...): compiles SOURCE for BPF and makes its skeleton.
#
# Gives the INTERFACE target <name>_bpf with the skeleton's directory, and the files <name>.bpf.o and <name>.skel.h in the
# build directory. vmlinux.h comes from the BTF of the kernel that is built for; what differs on the running one is CO-RE's.
function(bpf_object name)
  set(werror "")
  if(SPARE_WERROR)
    set(werror -Werror)
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCE" "INCLUDES")
  find_program(SPARE_BPF_CLANG NAMES clang REQUIRED)
  find_program(SPARE_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

  set(vmlinux "${SPARE_VMLINUX}")
  if(NOT vmlinux)
    foreach(candidate IN ITEMS "${SPARE_HEADERS}/vmlinux" /sys/kernel/btf/vmlinux)
      if(EXISTS "${candidate}")
        set(vmlinux "${candidate}")
        break()
      endif()
    endforeach()
  endif()
  if(NOT vmlinux)
    message(FATAL_ERROR "no kernel BTF for vmlinux.h: set SPARE_KERNEL (with its headers installed) or SPARE_VMLINUX")
  endif()

  set(dir "${CMAKE_CURRENT_BINARY_DIR}/bpf")
  file(MAKE_DIRECTORY "${dir}")
  set(includes "")
  foreach(include IN LISTS arg_INCLUDES)
    list(APPEND includes "-I${include}")
  endforeach()

  # One for all objects of a directory.
  get_property(has_vmlinux_h DIRECTORY PROPERTY SPARE_VMLINUX_H)
  if(NOT has_vmlinux_h)
    set_property(DIRECTORY PROPERTY SPARE_VMLINUX_H ON)
    add_custom_command(
      OUTPUT "${dir}/vmlinux.h"
      COMMAND "${SPARE_BPFTOOL}" btf dump file "${vmlinux}" format c > "${dir}/vmlinux.h"
      DEPENDS "${vmlinux}"
      COMMENT "BTF: vmlinux.h from ${vmlinux}"
      VERBATIM)
    add_custom_target(vmlinux_h_of_${name} DEPENDS "${dir}/vmlinux.h")
    set_property(DIRECTORY PROPERTY SPARE_VMLINUX_H_TARGET vmlinux_h_of_${name})
  endif()
  get_property(vmlinux_h DIRECTORY PROPERTY SPARE_VMLINUX_H_TARGET)
  # The object is linked once more by bpftool: that drops what clang leaves behind and is what the skeleton embeds.
  add_custom_command(
    OUTPUT "${dir}/${name}.bpf.o"
    COMMAND "${SPARE_BPF_CLANG}" -target bpf -mcpu=v3 -g -O2 -Wall -Wextra ${werror} -Wno-unused-parameter
            -Wno-sign-compare -isystem "${dir}" ${includes}
            -MD -MF "${dir}/${name}.d" -MT "${dir}/${name}.bpf.o"
            -c "${arg_SOURCE}" -o "${dir}/${name}.compiled.o"
    COMMAND "${SPARE_BPFTOOL}" gen object "${dir}/${name}.bpf.o" "${dir}/${name}.compiled.o"
    DEPENDS "${arg_SOURCE}" "${dir}/vmlinux.h"
    DEPFILE "${dir}/${name}.d"
    COMMENT "BPF: ${name}.bpf.o"
    VERBATIM)
  add_custom_command(
    OUTPUT "${dir}/${name}.skel.h"
    COMMAND "${SPARE_BPFTOOL}" gen skeleton "${dir}/${name}.bpf.o" name ${name}_bpf > "${dir}/${name}.skel.h"
    DEPENDS "${dir}/${name}.bpf.o"
    COMMENT "BPF: ${name}.skel.h"
    VERBATIM)

  add_custom_target(${name}_skeleton ALL DEPENDS "${dir}/${name}.skel.h")
  add_dependencies(${name}_skeleton ${vmlinux_h})
  add_library(${name}_bpf INTERFACE)
  add_dependencies(${name}_bpf ${name}_skeleton)
  target_include_directories(${name}_bpf SYSTEM INTERFACE "${dir}")
endfunction()
