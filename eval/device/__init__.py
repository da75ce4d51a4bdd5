"""What is different from device to device: clock, copies, memory, NVIDIA's library."""
