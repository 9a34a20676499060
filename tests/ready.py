"""For the fork server of tests: what torch imports only when it first makes an optimizer."""

import torch

torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
