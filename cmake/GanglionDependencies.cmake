# Everything comes from Debian's packages; scripts/install-packages lists them.

# A project that has this one as a subdirectory links our libraries, so it must see what they link.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Torch REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(fmt REQUIRED)
# The one that LibTorch itself computes with, and so the same copy in a process.
find_package(dnnl 2.6 REQUIRED)
find_package(CAF 0.17 REQUIRED)
find_package(prometheus-cpp REQUIRED)

# Debian's libtorch asks for whatever libblas.so.3 the host's alternatives name, and the reference BLAS is ten times
# slower. Our programs carry a run path to OpenBLAS's own folder instead, so that the host's choice stays as it is.
# (DT_RPATH rather than DT_RUNPATH: only that one is asked for the libraries of libraries.)
find_path(GANGLION_OPENBLAS_DIR NAMES libblas.so.3
  PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} PATH_SUFFIXES openblas-openmp openblas-serial NO_DEFAULT_PATH)
