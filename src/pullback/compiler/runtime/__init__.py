"""What runs a program: memory of a call, threads, the cache on the disk, the linker. No LLVM."""
