"""Ways to run one network: same function, other kernels. A new one is a module here and a row of the registry."""
