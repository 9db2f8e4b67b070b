"""Whether an installed component can be used: found out by importing it, which only `--check` and `doctor` do."""

from __future__ import annotations

from clscli.errors import ClscliError
from clscli.families import check_family
from clscli.plugins import KINDS, NAME_RULE, Component, incompatibility, load, near_names


def state_of(component: Component) -> tuple[str, str]:
    """Import a component and read its signature; return `ok`, `broken`, `invalid` or `incompatible`, and why.

    Of a family, which may have a thousand members, only the family itself is looked at.
    """
    from clscli.signature import SignatureError, complete, read_parameters

    if component.kind not in KINDS:
        near = near_names(component.kind, KINDS)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(KINDS)}"
        return "invalid", f"cannot be used: there is no kind '{component.kind}' -- {hint}"
    if not component.has_valid_name:
        return "invalid", f"cannot be used: {NAME_RULE}"
    reason = incompatibility(component)
    if reason is not None:
        return "incompatible", reason
    try:
        if component.is_family:
            check_family(component)
            return "ok", "-"
        complete(read_parameters(load(component), KINDS[component.kind].injected), given={})
    except ClscliError as error:
        return "broken", str(error)
    except SignatureError as error:
        return "broken", f"{component} cannot be used in a spec: {error}"
    return "ok", "-"
