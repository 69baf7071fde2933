# Message packages installed from wheels name the Python and NumPy headers of the machine that built them.
# CMake refuses an imported target whose include directories do not exist, so those are taken off; the
# packages built here bring the headers of the Python in use.
function(drop_missing_include_directories)
  foreach(_package ${ARGN})
    set(_target "${_package}::${_package}__rosidl_generator_py")
    if(NOT TARGET ${_target})
      continue()
    endif()
    get_target_property(_directories ${_target} INTERFACE_INCLUDE_DIRECTORIES)
    set(_kept "")
    foreach(_directory ${_directories})
      if(_directory MATCHES "^\\$<" OR EXISTS "${_directory}")
        list(APPEND _kept "${_directory}")
      endif()
    endforeach()
    set_target_properties(${_target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_kept}")
  endforeach()
endfunction()
