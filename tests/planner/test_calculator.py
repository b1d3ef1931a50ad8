"""The calculator against the published counts of transformer families."""

from dataclasses import replace

import pytest

import pullback as pb
from pullback.planner.calculator import MODELS, transformer_memory

LLAMA = MODELS["llama-7b"]
GPT = replace(LLAMA, gated=False, hidden=4 * LLAMA.width)
COLUMNS = [
    (GPT, "eager", "none"),
    (GPT, "eager", "selective"),
    (LLAMA, "eager", "none"),
    (LLAMA, "eager-fp32", "none"),
    (LLAMA, "fused", "none"),
    (LLAMA, "fused", "silu"),
    (LLAMA, "fused", "full"),
]
# Activations without logits, GB: 34 sbh + 5 a s^2 b, 34 sbh, and LLaMA's own blocks.
GB = {
    (1, 2048): ["30.60", "9.13", "18.66", "35.84", "10.07", "8.63", "0.85"],
    (4, 2048): ["122.4", "36.5", "74.6", "143.3", "40.3", "34.5", "3.41"],
    (8, 2048): ["244.8", "73.0", "149.3", "286.7", "80.6", "69.1", "6.81"],
    (1, 4096): ["104.2", "18.3", "54.5", "123.2", "20.1", "17.3", "1.70"],
}
GIB = {
    (1, 2048): ["28.5", "8.5", "17.4", "33.4", "9.38", "8.04", "0.79"],
    (4, 2048): ["114", "34", "69.5", "133.5", "37.5", "32.2", "3.17"],
    (8, 2048): ["228", "68", "139", "267", "75.1", "64.3", "6.34"],
    (1, 4096): ["97", "17", "50.8", "114.8", "18.8", "16.1", "1.59"],
}


@pytest.mark.parametrize(("unit", "table"), [(1e9, GB), (2.0**30, GIB)])
def test_activations_of_seven_billion_parameters(unit, table):
    for (batch, seq), row in table.items():
        for (model, attention, checkpointing), shown in zip(COLUMNS, row, strict=True):
            step = transformer_memory(model, batch, seq, "fp16", attention, checkpointing)
            digits = len(shown.partition(".")[2])
            # Half a digit, and half-way cases either way: 18.25 is printed as 18.3.
            assert step.activations / unit == pytest.approx(float(shown), abs=0.6 * 10.0**-digits)


def test_parameters_and_logits():
    step = transformer_memory("llama-7b", 1, 2048, "fp16")
    assert (step.n_parameters, step.parameters) == (6_738_415_616, 13_476_831_232)
    assert step.logits == 393_216_000
    assert sum(step.block.values()) / 2048 == 153_600 + 4 * 32
    assert transformer_memory("gpt2").n_parameters == 124_439_808
    assert "13.477    12.551" in str(step)


def test_selective_recomputation_of_gpt_3_saves_seven_tenths():
    shares = [
        transformer_memory("gpt3-175b", 1, 2048, "fp16", "eager", c).activations
        for c in ("none", "selective")
    ]
    assert 1 - shares[1] / shares[0] == pytest.approx(0.70, abs=0.005)


def test_unknown_names_are_refused():
    for options in (
        {"model": "gpt9"},
        {"model": "gpt2", "dtype": "fp8"},
        {"model": "gpt2", "attention": "none"},
        {"model": "gpt2", "checkpointing": "some"},
        {"model": "gpt2", "optimizer": "lbfgs"},
        {"model": "gpt2", "batch": 0},
    ):
        with pytest.raises(pb.errors.ArgumentError):
            transformer_memory(**options)
