from __future__ import annotations

import dataclasses
import functools
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

import pytest
from annotated_types import Ge, Lt
from pydantic import AfterValidator, Field

from clscli.faults import Fault
from clscli.signature import (
    REQUIRED,
    SignatureError,
    check,
    complete,
    describe_type,
    read_parameters,
    wants_all,
)

if TYPE_CHECKING:
    from nowhere import Unknown


def parameters_of(component, injected=()):
    return read_parameters(component, injected)


def names_of(component, injected=()):
    return [p.name for p in parameters_of(component, injected)]


def signature_error(component, injected=()):
    with pytest.raises(SignatureError) as caught:
        read_parameters(component, injected)
    return str(caught.value)


def faults(component, injected=(), **values):
    found = check(read_parameters(component, injected), values)[1]
    return {".".join(map(str, fault.path)): fault.message for fault in found}


def one(annotation, value):
    """Check one value against one type; return the checked value, or the message."""

    def component(x): ...

    component.__annotations__ = {"x": annotation}
    checked, found = check(read_parameters(component, ()), {"x": value})
    return found[0].message if found else checked["x"]


# Reading


class Class:
    def __init__(self, width: int, *, depth: int = 3) -> None: ...


class ByNew:
    def __new__(cls, width: Annotated[int, Ge(1)] = 1) -> ByNew:
        return super().__new__(cls)


class ByCall:
    def __call__(self, width: Literal["a"] = "a") -> None: ...


class Inherits(Class): ...


@dataclasses.dataclass
class Data:
    width: Annotated[int, Ge(1)]
    names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    hidden: int = dataclasses.field(default=0, init=False)


def function(
    in_channels: Unknown, width: int, path: Path = Path("x"), *, rate: float | None = None
) -> Unknown: ...


def test_parameters_of_a_function_in_order_with_defaults():
    found = [(p.name, p.annotation, p.default, p.injected) for p in parameters_of(function, ["in_channels"])]
    assert found == [
        ("in_channels", "Unknown", REQUIRED, True),  # never resolved: the name exists for type checkers only
        ("width", int, REQUIRED, False),
        ("path", Path, Path("x"), False),
        ("rate", float | None, None, False),
    ]


@pytest.mark.parametrize(
    ("component", "names"),
    [
        (Class, ["width", "depth"]),
        (Inherits, ["width", "depth"]),
        (ByNew, ["width"]),
        (ByCall(), ["width"]),
        (Data, ["width", "names"]),
        (lambda: None, []),
    ],
    ids=["class", "inherited", "__new__", "instance", "dataclass", "nothing"],
)
def test_parameters_of_every_kind_of_callable(component, names):
    assert names_of(component) == names


def test_a_default_factory_gives_a_default_of_its_own():
    first, second = (parameters_of(Data)[1].default for _ in range(2))
    assert first == second == ["a"]
    assert first is not second


def test_nested_partials_give_defaults_and_take_positions():
    inner = functools.partial(function, "in_channels", width=1)
    outer = functools.partial(inner, width=2, rate=0.5)
    assert [(p.name, p.default) for p in parameters_of(outer)] == [
        ("width", 2),
        ("path", Path("x")),
        ("rate", 0.5),
    ]


def test_string_annotations_are_those_of_the_module_where_they_stand(monkeypatch):
    source = "Number = int\ndef f(x: 'Number'): ...\nclass C:\n  def __init__(self, x: 'Number'): ..."
    module = types.ModuleType("elsewhere")
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    exec(compile(source, "elsewhere.py", "exec"), module.__dict__)
    for component in (module.f, module.C, functools.partial(functools.partial(module.f))):
        assert parameters_of(component)[0].annotation is int


def test_a_wrapped_function_is_read_through_its_wrapper():
    @functools.wraps(function)
    def wrapper(*args, **kwargs): ...

    assert names_of(wrapper, ["in_channels"]) == ["in_channels", "width", "path", "rate"]


# Refused signatures: messages for the author


def star(*sizes: int): ...
def stars(**options: int): ...
def positional(x: int, /): ...
def bare(x): ...
def unresolved(x: Unknown): ...
def function_type(x: Callable[[int], int]): ...
def class_type(x: type[int]): ...
def union_with_object(x: int | object = 1): ...
def nested_object(x: list[bytes]): ...
def named_type(*, type: str = "max"): ...


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (star, "it takes '*sizes', but each parameter must have a name of its own"),
        (stars, "it takes '**options', but each parameter must have a name of its own"),
        (positional, "parameter 'x' is positional-only, but specs give parameters by name"),
        (bare, "parameter 'x' has no type annotation"),
        (named_type, "it has a parameter 'type', but in a spec that is the component's name"),
        (unresolved, "the type 'Unknown' of parameter 'x' cannot be resolved: name 'Unknown' is not defined"),
        *(
            (component, f"parameter 'x' has the type {shown}, which TOML cannot write "
             '-- take a name instead, such as Literal["relu", "gelu"]')
            for component, shown in [
                (function_type, "Callable[[<class 'int'>], int]"),
                (class_type, "type[int]"),
                (union_with_object, "int | object"),
                (nested_object, "list[bytes]"),
            ]
        ),
    ],
)  # fmt: skip
def test_what_no_spec_could_give_is_refused(component, message):
    assert signature_error(component) == message


def test_a_callable_without_a_signature_is_refused():
    assert signature_error(dict).startswith("its signature cannot be read: ")
    assert signature_error(3).startswith("its signature cannot be read: ")


def test_a_type_that_nothing_can_be_checked_by():
    def component(*, width: int = 8, name: Annotated[str, Field(pattern="(")] = "a"): ...

    message = "^nothing can be checked by the type of parameter 'name': regex parse error: "
    with pytest.raises(SignatureError, match=message):
        check(read_parameters(component, ()), {})
    with pytest.raises(SignatureError, match=message):
        complete(read_parameters(component, ()), {})


def test_a_check_of_the_author_s_that_fails_itself():
    def component(*, width: Annotated[int, AfterValidator(lambda width: {}[width])] = 8): ...

    with pytest.raises(SignatureError) as caught:
        check(read_parameters(component, ()), {"width": 3})
    assert str(caught.value) == "its parameters cannot be checked: KeyError: 3"


def test_injected_parameters_need_no_annotation():
    def component(in_channels, x: int): ...

    assert names_of(component, ["in_channels"]) == ["in_channels", "x"]


# Values


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 18, 18),
        (int, "18", 'must be an integer, got "18"'),
        (int, 18.0, "must be an integer, got 18.0"),
        (int, True, "must be an integer, got true"),
        (int, None, "must be an integer, got None"),
        (int, [1], "must be an integer, got [1]"),
        (int, {}, "must be an integer, got {}"),
        (float, 1, 1.0),
        (float, 0.5, 0.5),
        (float, float("inf"), float("inf")),
        (float, "1", 'must be a number, got "1"'),
        (float, True, "must be a number, got true"),
        (bool, True, True),
        (bool, 1, "must be true or false, got 1"),
        (bool, "true", 'must be true or false, got "true"'),
        (str, "x", "x"),
        (str, 1, "must be a string, got 1"),
        (Path, "a/b", Path("a/b")),
        (Path, 1, "must be a string, got 1"),
        (list[int], [1], [1]),
        (list[int], (1, 2), [1, 2]),
        (list[int], 1, "must be a list, got 1"),
        (list[int], "ab", 'must be a list, got "ab"'),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[float, float], [1, 2], (1.0, 2.0)),
        (tuple[float, float], [1], "is required"),
        (tuple[float, float], 1, "must be a list, got 1"),
        (set[str], ["a", "a"], {"a"}),
        (Sequence[int], [1], [1]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[str, int], 1, "must be a table, got 1"),
        (Any, [1, "x"], [1, "x"]),
        (Literal["avg", "max"], "avg", "avg"),
        (Literal["avg", "max"], "agv", "must be 'avg' or 'max', got \"agv\" -- did you mean 'avg'?"),
        (Literal["avg", "max"], 3, "must be 'avg' or 'max', got 3"),
        (Literal[18, 34, 50], 50, 50),
        (Literal[18, 34, 50], 35, "must be 18, 34 or 50, got 35"),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1, got 0"),
        (Annotated[int, Field(gt=1)], 1, "must be greater than 1, got 1"),
        (Annotated[float, Field(le=1)], 1.5, "must be at most 1.0, got 1.5"),
        (Annotated[float, Field(lt=1)], 1.0, "must be less than 1.0, got 1.0"),
        (Annotated[int, Ge(1), Lt(3)], 3, "must be less than 3, got 3"),
        (Annotated[list[int], Field(min_length=2)], [1], "must have at least 2 elements, got [1]"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must have at most 1 elements, got [1, 2]"),
        (Annotated[str, Field(pattern="^a$")], "b", "string should match pattern '^a$', got \"b\""),
        (int | None, 3, 3),
        (int | None, "x", 'must be an integer, got "x"'),
        (Optional[int], 3, 3),  # noqa: UP045
        (Union[int, str], "x", "x"),  # noqa: UP007
        (int | str, 1.5, "must be an integer or a string, got 1.5"),
        (Literal["auto"] | int, {}, "must be 'auto' or an integer, got {}"),
        (Literal["auto"] | Annotated[int, Field(ge=0)], -1, "must be 'auto' or at least 0, got -1"),
        (bool | str, 3, "must be true or false or a string, got 3"),
    ],
)
def test_values_are_checked_strictly_and_converted_as_toml_needs(annotation, value, expected):
    result = one(annotation, value)
    assert result == expected
    assert type(result) is type(expected)


def test_faults_say_where_inside_a_value_they_are():
    def component(sizes: list[int], pairs: tuple[int, int] = (1, 2), names: dict[str, int] | None = None): ...

    assert faults(component, sizes=[1, "x", 2.5], pairs=[1, "b"], names={"a": 1, "b": "c"}) == {
        "sizes.1": 'must be an integer, got "x"',
        "sizes.2": "must be an integer, got 2.5",
        "pairs.1": 'must be an integer, got "b"',
        "names.b": 'must be an integer, got "c"',
    }


def test_in_a_union_the_fault_is_that_of_the_branch_that_was_meant():
    def component(size: int | list[int]): ...

    assert faults(component, size=[1, "x"]) == {"size.1": 'must be an integer, got "x"'}
    assert faults(component, size="x") == {"size": 'must be an integer or a list, got "x"'}


def test_all_faults_at_once():
    def component(in_channels: int, depth: int, width: int = 3, rate: Annotated[float, Ge(0)] = 0.1): ...

    assert faults(component, ["in_channels"], in_channels=3, widht=4, rate=-1, zzz=0) == {
        "in_channels": "is set by clscli from the data -- remove it",
        "depth": "is required",
        "rate": "must be at least 0.0, got -1",
        "widht": "no parameter 'widht' -- did you mean 'width'?",
        "zzz": "no parameter 'zzz' -- there are: depth, width, rate",
    }


def test_an_injected_value_alone_is_a_fault():
    def component(in_channels: int): ...

    parameters = read_parameters(component, ["in_channels"])
    assert check(parameters, {"in_channels": 3}) == (
        {},
        [Fault(("in_channels",), "is set by clscli from the data -- remove it")],
    )


def test_an_unknown_key_where_there_are_no_parameters():
    parameters = read_parameters(lambda: None, ())
    assert check(parameters, {"x": 1}, "neck 'flat' has no parameter")[1] == [
        Fault(("x",), "neck 'flat' has no parameter 'x' -- there are: none")
    ]


def test_only_what_was_given_comes_back():
    def component(width: int = 3, names: tuple[str, ...] = ()): ...

    assert check(read_parameters(component, ()), {"names": ["a"]}) == ({"names": ("a",)}, [])


def test_a_default_of_none_may_be_left_out():
    def component(rate: float | None = None, strict: int = None): ...  # noqa: RUF013

    assert check(read_parameters(component, ()), {}) == ({}, [])


def test_parameters_may_have_names_that_pydantic_keeps_for_itself():
    def component(
        copy: int, schema: int, json: int, dict: int, model_config: int, model_fields: int, validate: int, _x: int,
        field_0: int, self_: int,
    ): ...  # fmt: skip

    values = {name: number for number, name in enumerate(names_of(component))}
    assert check(read_parameters(component, ()), values) == (values, [])
    assert faults(component, **{**values, "_x": "y"}) == {"_x": 'must be an integer, got "y"'}


def test_a_field_of_ours_is_no_parameter():
    def component(width: int = 1): ...

    assert faults(component, field_0=3) == {"field_0": "no parameter 'field_0' -- there are: width"}


# Completing


def test_complete_writes_plain_types_and_leaves_none_out():
    def component(
        in_channels: int,
        name: str,
        scale: tuple[float, float] = (0, 1),
        rate: float = 1,
        root: Path = Path("a"),
        limit: int | None = None,
    ): ...

    parameters = read_parameters(component, ["in_channels"])
    written = complete(parameters, {"name": "x", "root": Path("b")})
    assert list(written.items()) == [("name", "x"), ("scale", [0.0, 1.0]), ("rate", 1.0), ("root", "b")]
    assert repr(written["rate"]) == "1.0"  # as it will be when it is read back
    assert complete(parameters, check(parameters, written)[0]) == written


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("x", "the default of parameter 'depth' does not fit: must be an integer, got \"x\""),
        (object, "it has a default that TOML cannot write: "),
    ],
)
def test_a_default_that_no_spec_could_give_is_the_authors_mistake(default, message):
    def component(depth: int = default): ...

    with pytest.raises(SignatureError) as caught:
        complete(read_parameters(component, ()), {})
    assert str(caught.value).startswith(message)


# Describing


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (Path, "path"),
        (Any, "any"),
        (None, "none"),
        (type(None), "none"),
        (list[int], "list[int]"),
        (list, "list"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, list[float]], "dict[str, list[float]]"),
        (Sequence[int], "Sequence[int]"),
        (Literal["a", 2, True], '"a" | 2 | true'),
        (int | None, "int"),
        (Optional[str], "str"),  # noqa: UP045
        (Literal["auto"] | int, '"auto" | int'),
        (Annotated[float, Field(ge=0, lt=1)], "float, >= 0, < 1"),
        (Annotated[int, Ge(1), Lt(3)], "int, >= 1, < 3"),
        (Annotated[float, Field(gt=0, le=2)], "float, > 0, <= 2"),
    ],
)
def test_types_are_described_as_a_user_reads_them(annotation, text):
    assert describe_type(annotation) == text


# Which injected parameters want all


def test_a_tuple_of_channels_is_wanted_by_annotation():
    def written_out(in_channels: tuple[int, ...]): ...
    def single(in_channels: int): ...
    def bare(in_channels): ...

    resolved = functools.partial(single)
    assert wants_all(written_out, "in_channels")
    assert not wants_all(single, "in_channels")
    assert not wants_all(bare, "in_channels")
    assert not wants_all(resolved, "in_channels")
    single.__annotations__["in_channels"] = tuple[int, ...]
    assert wants_all(single, "in_channels")
