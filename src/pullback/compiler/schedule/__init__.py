"""Graph to schedule: which kernels there are, what each computes, where values lie. No LLVM."""
