"""What the machine itself says: its speed, the CPU, memory and threads of processes, how they are scheduled."""
