"""One component, described from its docstring and signature."""

from __future__ import annotations

import inspect

import pydantic_core

from clscli.errors import PluginError
from clscli.models.published import published
from clscli.plugins import KINDS, Component, load
from clscli.reports.text import format_table
from clscli.signature import REQUIRED, Parameter, SignatureError, complete, describe_type, read_parameters, unwrap
from clscli.spec.builder_keys import builder_keys
from clscli.toml import format_value


def describe_component(component: Component) -> str:
    """Show where a component is from, what it does, and every parameter: type, default, who sets it.

    Imports the component. Raises PluginError when that fails.
    """
    function = load(component)
    # Not inspect.getdoc: for a class without a docstring it shows that of nn.Module.
    doc = inspect.cleandoc(unwrap(function).__doc__ or "") or "(no description)"
    head = f"{component.spec_name}  ({KINDS[component.kind].singular}, {component.dist} {component.version})"
    try:
        parameters = read_parameters(function, KINDS[component.kind].injected)
        complete(parameters, given={})  # where the defaults do not fit, no spec can name the component
    except SignatureError as error:
        return f"{head}\n\n{doc}\n\ncannot be used in a spec: {error}"
    rows = [_row(parameter) for parameter in parameters]
    for name, key in builder_keys(component.kind, parameters).items():
        rows.append((name, key.type, key.default, f"spec ({key.meaning})"))
    table = format_table(("PARAMETER", "TYPE", "DEFAULT", "SET BY"), rows) if rows else "no parameters"
    sections = [f"{head}\n{component.value}", doc, table]
    if component.kind == "backbones":
        sections += _weights(component)
    return "\n\n".join(sections)


def _weights(component: Component) -> list[str]:
    """Show the published weights; those that `pretrained = true` takes come first."""
    try:
        found = published(component)
    except PluginError as error:
        return [f"published weights cannot be shown: {error}"]
    rows = [
        (
            weights.name,
            "-" if weights.top1 is None else f"{100 * weights.top1:.2f} %",
            "-" if weights.bytes is None else f"{weights.bytes / 1e6:.1f}",
            f"{weights.input_size}x{weights.input_size}",
            weights.licence,
            weights.source,
        )
        for weights in found
    ]
    return (
        [format_table(("WEIGHTS", "TOP-1", "MB", "INPUT", "LICENCE", "SOURCE"), rows, right=(1, 2))]
        if rows
        else []
    )


def _row(parameter: Parameter) -> tuple[str, str, str, str]:
    if parameter.injected:
        annotation = parameter.annotation
        text = annotation if isinstance(annotation, str) else describe_type(annotation)
        return parameter.name, "-" if annotation is REQUIRED else text, "-", "clscli"
    default = "required" if parameter.default is REQUIRED else "none"
    if parameter.default is not None and parameter.default is not REQUIRED:
        default = format_value(pydantic_core.to_jsonable_python(parameter.default))
    return parameter.name, describe_type(parameter.annotation), default, "spec"
