"""The part of a report about confidence: reliability, its error, and a temperature."""

from __future__ import annotations

from slowfast.reporting import charts, statistics
from slowfast.reporting.markup import details, element, number, section, table
from slowfast.reporting.reading import TestRun
from slowfast.reporting.sections import Part


def calibration(run: TestRun) -> Part | None:
    """Is a probability what it says? None where labels are none or several."""
    if not run.labelled or run.multi_label:
        return None
    found = statistics.calibrate(run.mean_logits, run.label_array)
    groups = [("as predicted", found.bins)]
    rows = [("as predicted", number(100 * found.error, "{:.2f} %"), number(found.nll, "{:.4f}"))]
    if found.temperature is None:
        said = "One video is too few for a temperature."
    else:
        groups.append(("with temperature, held out", found.bins_after))
        rows.append(
            (
                "with temperature, held out",
                number(100 * found.error_after, "{:.2f} %"),
                number(found.nll_after, "{:.4f}"),
            )
        )
        said = _about_temperature(found)
    drawn = {
        "reliability": charts.reliability_diagram(
            "reliability", "How often it is right, by its confidence", groups
        )
    }
    header = ["probabilities", "expected calibration error", "negative log-likelihood"]
    bins = [
        (
            name,
            f"{100 * one.low:.0f} to {100 * one.high:.0f} %",
            one.count,
            number(100 * one.confidence, "{:.2f} %"),
            number(100 * one.accuracy, "{:.2f} %"),
        )
        for name, found_bins in groups
        for one in found_bins
    ]
    columns = ["probabilities", "confidence", "videos", "mean confidence", "right"]
    side = [
        table(header, rows, caption=f"Calibration of the first guess ({statistics.NUM_BINS} equal bins)"),
        element("p", said),
        details("Bins", table(columns, bins, caption="Bins of the reliability diagram")),
    ]
    body = element("div", drawn["reliability"].figure, element("div", *side), class_="charts")
    return Part(section("calibration", "Calibration", body), charts.data_of(drawn))


def _about_temperature(found: statistics.Calibration) -> str:
    if found.at_limit:
        low, high = statistics.TEMPERATURES
        return (
            f"No temperature between {low:g} and {high:g} fits best: the likelihood still rises at the end of that "
            "range, as it does where all guesses are right, or where scores say nothing."
        )
    return (
        f"Temperature {found.temperature:.3f}: softmax(logits / T) of the mean logits, T fitted to the likelihood of "
        "all scored videos. The held-out figures are of two-fold cross-validation (every second video): each half with "
        "the T of the other. T was fitted on this very test list; for use elsewhere fit it on videos of your own."
    )
