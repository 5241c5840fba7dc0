"""export: labels and picks in the formats of other tools; the model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from loop.cli.output import bar, json_option, print_json, project_at, project_option, say
from loop.export import FORMATS, MODEL
from loop.wording import counted


@click.command()
@project_option
@json_option
@click.option(
    "--format",
    "form",
    default="csv",
    show_default=True,
    metavar="FORMAT",
    type=click.Choice([*FORMATS, MODEL]),
    help="See above.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Default: labels.csv and the like.")
@click.option("--picks", is_flag=True, help="Also the picks that nobody has labelled yet.")
@click.option("--all", "everything", is_flag=True, help="Every image, by people or the model.")
def export(
    folder: Path, as_json: bool, form: str, out: Path | None, picks: bool, everything: bool
) -> None:
    """Write labels, splits and votes for other tools.

    \b
    csv, jsonl, parquet  one row per image
    annotations          CSV, one row per annotation, with times
    votes                CSV, one column per annotator (cleanlab)
    folders              split/class/image (torchvision)
    huggingface          parquet, images inside (datasets.load_dataset)
    fiftyone             per split a FiftyOneImageClassificationDataset
    model                the newest model: ONNX, weights, labels, model card and
                         an example; takes pip install 'coreloop[onnx]'

    \b
    Example: coreloop export --format folders --out dataset
             coreloop export --all --format folders --out dataset
             coreloop export --format model --out model
    """
    from loop.steps.export import export as step

    if form == MODEL:
        _export_model(folder, as_json, out, picks or everything)
        return
    project = project_at(folder)
    notes: list[str] = []
    path, count = step(
        project, form, out, all_picks=picks, everything=everything, on_note=notes.append
    )
    if as_json:
        print_json({"path": str(path), "images": count, "notes": notes})
    else:
        for note in notes:
            say(note)
        say(f"{counted(count, 'image')}: {path}")


def _export_model(folder: Path, as_json: bool, out: Path | None, picks: bool) -> None:
    from loop.errors import ConfigError
    from loop.steps.export import export_model

    if picks:
        raise ConfigError("--picks and --all list images; leave them out with --format model")
    with bar() as (begin, _):
        begin("model: ONNX graph, and its answers beside the model's")
        written = export_model(project_at(folder), out)
    if as_json:
        print_json({**asdict(written), "path": str(written.path)})
        return
    for name, size in written.files.items():
        say(f"{size / 1e3:12,.1f} kB  {name}")
    if written.outside:
        say(f"Without the encoder: {written.outside}. model.onnx takes embeddings.")
    if written.agreement.images:
        say(
            f"Graph and kept model differ by at most {written.agreement.largest:.1e} in a "
            f"probability ({counted(written.agreement.images, 'image')} of the pool)."
        )
    taken = "EMBEDDINGS.npy" if written.outside else "IMAGE_OR_FOLDER"
    say(f"Try it: python {written.path / 'predict.py'} {taken} (see README.md there)")
