"""Pages of gradient flow: verdicts, curves over the depth, training as a heat map, paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from pullback.flow.findings import Finding
from pullback.flow.measurements import LayerMeasure
from pullback.pages.charts import curves, heat_map
from pullback.pages.document import Section, document, table

__all__ = ["cards", "diagnosis_page", "monitor_page", "paths_page"]


def diagnosis_page(diagnosis: Any, treatment: Any = None) -> str:
    """Verdicts first, then what was measured, then what remedies did."""
    probe = diagnosis.probe
    sections = [Section("Verdict", cards(diagnosis.findings)), *probe_sections(probe)]
    data = diagnosis.to_json()
    if treatment is not None:
        sections.insert(1, Section("Remedies, tried", treatment_table(treatment)))
        data["remedies"] = treatment.to_json()
    n = len(diagnosis.findings)
    lead = "No fault found." if not n else f"{n} finding{'s' * (n > 1)}, causes first."
    lead += f" Loss {probe.loss:.6g} on {probe.n_rows} rows."
    return document("Gradient flow", lead, sections, data)


def cards(findings: Sequence[Finding]) -> str:
    """Each finding: what, where, why, against which limit, what else, what to change."""
    if not findings:
        return "<p>No fault found.</p>"
    return "".join(_card(number, finding) for number, finding in enumerate(findings, 1))


def _card(number: int, f: Finding) -> str:
    where = f" at {f.place}" if f.place else ""
    evidence = "".join(f"<li>{escape(text)}</li>" for text in f.evidence)
    rows = [("Line", f.line), ("Change", f.advice), ("Could also be", "; ".join(f.alternatives))]
    if f.threshold is not None:
        t = f.threshold
        rows.insert(1, ("Limit", f"{t.value:g} for the {t.meaning} ({t.source})"))
    details = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows if text)
    return (
        f'<article class="finding"><h3>{number}. {escape(f.kind + where)}</h3>'
        f"<p>{f.severity}, confidence {f.confidence:.0%}</p>"
        f"<ul>{evidence}</ul><dl>{details}</dl></article>"
    )


def probe_sections(probe: Any) -> Iterator[Section]:
    """Signals over the depth, units, parameters."""
    layers: Sequence[LayerMeasure] = probe.layers
    names = [layer.name for layer in layers]
    signals = {
        "RMS of a, forward": [layer.rms for layer in layers],
        "RMS of dL/da, backward": [layer.ct_rms for layer in layers],
    }
    drawn = curves(signals, "What flows, from the first layer to the last", "layer", names)
    lines = [(layer.name, layer.line, f"{layer.gain:.3g}") for layer in layers]
    yield Section(
        "Over the depth", drawn + table(["layer", "line", "gain of the next"], lines, "Where")
    )
    if probe.units:
        units = [
            (u.name, u.kind, u.n_units, f"{u.dead:.0%}", f"{u.dormant:.0%}", f"{u.saturated:.0%}")
            for u in probe.units
        ]
        heads = ["layer", "activation", "units", "dead", "dormant", "saturated"]
        yield Section("Units", table(heads, units, f"On {probe.n_rows} rows"))
    weights = [
        (p.path, " x ".join(map(str, p.shape)), f"{p.rms:.3g}", f"{p.grad_rms:.3g}")
        for p in probe.parameters
    ]
    heads = ["parameter", "shape", "RMS", "RMS of its gradient"]
    yield Section("Parameters", table(heads, weights, "Weights and their gradients"))


def treatment_table(treatment: Any) -> str:
    """What each remedy did to the loss at equal steps, and those that were not tried."""
    rows = [
        (
            o.remedy,
            o.start,
            f"{o.ratio:.3g} ({o.low:.2g} to {o.high:.2g})",
            f"{o.n_better} of {len(o.losses)}",
            "helps" if o.helps else "harms" if o.harms else "no effect",
        )
        for o in treatment.outcomes
    ]
    heads = ["remedy", "from", "loss / loss without", "seeds better", "verdict"]
    caption = f"{treatment.n_seeds} seeds, {treatment.n_steps} steps, on equal batches"
    untried = table(["not tried", "because"], treatment.untried, "Not tried")
    return table(heads, rows, caption) + (untried if treatment.untried else "")


def monitor_page(monitor: Any) -> str:
    """A training run: loss, ratio and the gradient at each layer over the steps."""
    samples = monitor.samples
    steps = [str(s.step) for s in samples]
    names = [name for name, _ in samples[-1].layers] if samples else []
    layers = {name: [dict(s.layers).get(name, float("nan")) for s in samples] for name in names}
    sections = [Section("Findings", cards(monitor.findings))]
    if samples:
        loss = curves({"loss": [s.loss for s in samples]}, "Loss of the probed rows", "step", steps)
        shares = {
            "dead units": [s.dead for s in samples],
            "saturated": [s.saturated for s in samples],
        }
        units = curves(shares, "Largest share over the layers", "step", steps, logarithmic=False)
        flow = heat_map(layers, "RMS of dL/da, layers against steps", "step", steps)
        sections += [Section("Loss", loss), Section("Flow", flow), Section("Units", units)]
    lead = f"{monitor.n_steps} steps, {monitor.n_probes} probes, {monitor.cost:.1%} of the time"
    return document("Training", lead, sections, monitor.to_json())


def paths_page(report: Any) -> str:
    """The gradient by the number of branches that it passed."""
    masses = {"path mass": report.mass, "binomial law": report.law}
    drawn = curves(masses, "Share of the path mass", "branches passed", logarithmic=False)
    norms = curves({"norm": report.norms}, "Norm of the part, with cancellation", "branches passed")
    lesions = table(
        ["without", "loss"],
        [("nothing", f"{report.loss:.4g}"), *((x.branch, f"{x.loss:.4g}") for x in report.lesions)],
        "The loss with one branch left out",
    )
    low, high = report.middle
    lead = (
        f"{len(report.branches)} branches; 95% of the path mass passes {low} to {high}; the direct "
        f"path has {report.direct:.3g} of the gradient's norm"
    )
    sections = [Section("Paths", drawn + norms), Section("Lesions", lesions)]
    return document(f"Paths of the gradient at {report.start}", lead, sections, report.to_json())
