"""Takes the first GPU's memory but so many MiB, and holds it until standard input ends:   python3 hold_memory.py MIB"""

import sys

import torch

free, _ = torch.cuda.mem_get_info()
torch.empty(max(0, free - (int(sys.argv[1]) << 20)), dtype=torch.uint8, device="cuda")
held = torch.cuda.memory_reserved()  # torch's cache keeps it
print(f"holding {held / 2**30:.1f} GiB", flush=True)
sys.stdin.read()
