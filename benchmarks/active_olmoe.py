"""Does a chosen active schedule beat an even one, in a trained Mixture-of-Experts model?

Trains a small OLMoE of Hugging Face transformers on text, one token per byte; measures how its loss
depends on the active experts of each layer; chooses the best active schedule within the FLOPs of an
even one; and compares the two on other documents. Text is WikiText-2: its test file trains, and of
the articles of its validation file one half measures and the other compares. It is one model of one
seed: the intervals are over documents. It goes on where it was stopped.

    python -m benchmarks.active_olmoe --data-dir data/text --out studies/active-olmoe

It writes sensitivity.csv, comparison.csv and sensitivity.png, and keeps the model and the losses of
all documents in --work. All of it takes about two minutes of one core.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from dynamoe_search.data.tokenizer import ByteTokenizer
from dynamoe_search.interop.active_choice import choose_active, compare_choice
from dynamoe_search.interop.held_out import HeldOut, split_documents
from dynamoe_search.interop.sensitivity import measure_sensitivity, schedule_losses
from dynamoe_search.report.figure import save_figure
from dynamoe_search.report.sensitivity import plot_sensitivity

CONTEXT, BATCH = 128, 16
RATE, WARMUP = 3e-3, 0.05
END = ByteTokenizer.end_of_document
MEASURING, COMPARING = 1024, 4096  # the most tokens of a document
MEANS = (2, 3, 4)
COUNTS = range(1, 7)
_ARTICLE = re.compile(r"(?m)^(?= = [^=\n]+ = ?$)")


def small_olmoe(layers: int = 4, experts: int = 16, active: int = 4) -> OlmoeForCausalLM:
    """An OLMoE of width 64, untrained, with a token for each byte and one for a document's end."""
    config = OlmoeConfig(
        vocab_size=ByteTokenizer.vocabulary,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_experts=experts,
        num_experts_per_tok=active,
        norm_topk_prob=True,
        max_position_embeddings=CONTEXT,
        output_router_logits=True,  # for the loss that balances the load
        eos_token_id=END,
        pad_token_id=None,
        bos_token_id=None,
    )
    return OlmoeForCausalLM(config)


def train(model: Any, tokens: np.ndarray, steps: int, batch: int = BATCH, seed: int = 0) -> None:
    """Train on windows at random places: warm-up, cosine decay, clipping."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.1)
    model.train()
    start = time.process_time()
    for step in range(steps):
        part = (step + 1) / steps
        rate = RATE * min(part / WARMUP, (1 + math.cos(math.pi * part)) / 2 + 0.02)
        for group in optimizer.param_groups:
            group["lr"] = rate
        places = rng.integers(0, len(tokens) - CONTEXT, batch)
        windows = np.stack([tokens[place : place + CONTEXT] for place in places])
        inputs = torch.from_numpy(windows.astype(np.int64))
        loss = model(input_ids=inputs, labels=inputs, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            seconds = time.process_time() - start
            print(f"step {step + 1}: loss {loss.item():.3f}, {seconds:.0f} s", flush=True)
    model.eval()


def articles(path: Path) -> list[np.ndarray]:
    """The articles of a file of WikiText as tokens."""
    texts = _ARTICLE.split(path.read_text(encoding="utf-8"))
    return [ByteTokenizer().encode(text) for text in texts if text.strip()]


def trained_model(folder: Path, data_dir: Path, steps: int) -> Any:
    """The model of this folder, trained first where there is none."""
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        model = small_olmoe()
        texts = articles(data_dir / "wikitext-2" / "test.txt")
        train(model, np.concatenate([np.append(one, END) for one in texts]), steps)
        model.save_pretrained(folder)
    return OlmoeForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)


def main() -> None:
    """Train, measure, choose, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of wikitext-2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("active-olmoe-work"))
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = trained_model(arguments.work / "model", arguments.data_dir, arguments.steps)
    whole = split_documents(articles(arguments.data_dir / "wikitext-2" / "valid.txt"), CONTEXT)
    data = HeldOut(
        tuple(one[:MEASURING] for one in whole.measuring),
        tuple(one[:COMPARING] for one in whole.comparing),
        CONTEXT,
    )

    def show(done: int, total: int) -> None:
        print(f"{done} of {total}, {time.process_time():.0f} s", flush=True)

    sensitivity = measure_sensitivity(
        model, data, COUNTS, path=arguments.work / "losses.csv", on_progress=show
    )
    sensitivity.to_csv(arguments.out / "sensitivity.csv", index=False, float_format="%.6g")
    choices = {mean: choose_active(sensitivity, mean) for mean in MEANS}
    schedules = {
        f"{mean} {name}": schedule
        for mean, choice in choices.items()
        for name, schedule in choice.schedules.items()
    }
    losses = schedule_losses(model, data, schedules, on_progress=show)
    compared = [
        compare_choice(
            choice,
            losses[[f"{mean} {name}" for name in choice.schedules]].set_axis(
                list(choice.schedules), axis=1
            ),
        ).assign(mean_active=mean)
        for mean, choice in choices.items()
    ]
    comparison = pd.concat(compared, ignore_index=True)
    comparison.to_csv(arguments.out / "comparison.csv", index=False, float_format="%.6g")
    print(comparison.to_string())
    save_figure(plot_sensitivity(sensitivity, choices[2]), arguments.out / "sensitivity.png")


if __name__ == "__main__":
    main()
