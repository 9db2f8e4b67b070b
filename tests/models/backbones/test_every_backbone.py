"""What every built-in backbone must do besides its contract: sizes, shapes, freezing, gradients, exporting."""

import copy
import inspect

import pytest
import torch
from backbone_kit import ENTRIES, all_families, as_tuple, build, num_parameters, shapes
from torch.nn.modules.batchnorm import _BatchNorm

FAMILIES = all_families()
SIZES = {name: size for family in FAMILIES.values() for name, size in family.sizes.items()}
STAGES = {name: (family, stages) for family in FAMILIES.values() for name, stages in family.stages.items()}
MEMBERS = {family.member: family for family in FAMILIES.values()}

every_variant = pytest.mark.parametrize("name", SIZES)
every_member = pytest.mark.parametrize("name", MEMBERS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Compute on one core: on a busy machine, threads that wait for each other take five times as long."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def small(name, in_channels=3, **parameters):
    return build(name, in_channels, **{**MEMBERS[name].small, **parameters})


def images_for(name, batch_size=2, channels=3):
    size = MEMBERS[name].image_size
    return torch.rand(batch_size, channels, size, size)


def num_stages(name):
    return len(small(name).stem_and_stages()) - 1


def channels_of(backbone):
    channels = backbone.out_channels
    return (channels,) if isinstance(channels, int) else tuple(channels)


def total(outputs):
    return sum(output.square().sum() for output in as_tuple(outputs))


def gradients(backbone, images):
    backbone.zero_grad()
    torch.manual_seed(0)
    total(backbone(images)).backward()
    return {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}


def test_every_builtin_backbone_is_in_a_family():
    assert set(ENTRIES) == set(SIZES)


@every_variant
def test_signature(name):
    first, *others = inspect.signature(ENTRIES[name].load()).parameters.values()
    assert (first.name, first.default) == ("in_channels", inspect.Parameter.empty)
    assert all(other.kind is inspect.Parameter.KEYWORD_ONLY for other in others)
    assert all(other.default is not inspect.Parameter.empty for other in others)
    assert {"gradient_checkpointing", "frozen_stages", "out_indices"} <= {other.name for other in others}


@every_variant
def test_number_of_parameters(name):
    assert num_parameters(build(name, device="meta")) == SIZES[name][0]


# Outputs


@pytest.mark.parametrize("name", STAGES)
def test_every_stage(name):
    family, stages = STAGES[name]
    backbone = build(name, out_indices=tuple(range(len(stages))), device="meta")
    outputs = backbone(torch.empty(2, 3, family.stages_at, family.stages_at, device="meta"))
    expected = [(2, stage[0], *stage[1:] * 2) for stage in stages]
    assert channels_of(backbone) == tuple(stage[0] for stage in stages)
    assert shapes(outputs) == expected


@every_member
def test_stages_are_the_same_whichever_are_asked_for(name):
    stages = num_stages(name)
    full = small(name, out_indices=tuple(range(stages))).eval()
    images = images_for(name, batch_size=1)
    with torch.inference_mode():
        outputs = as_tuple(full(images))
        assert len(outputs) == stages
        for index in range(stages):
            for asked in (index, index - stages):
                part = small(name, out_indices=(asked,)).eval()
                part.load_state_dict(full.state_dict(), strict=False)
                assert isinstance(part.out_channels, int)
                output = part(images)
                assert output.shape[1] == part.out_channels
                if index == stages - 1 or output.shape == outputs[index].shape:
                    torch.testing.assert_close(output, outputs[index])


# Freezing


@every_member
def test_frozen_stages_never_train(name):
    stages = num_stages(name)
    for frozen_stages in {0, 1, stages}:
        backbone = small(name, frozen_stages=frozen_stages).train()
        for index, modules in enumerate(backbone.stem_and_stages()):
            frozen = frozen_stages > 0 and index <= frozen_stages
            for module in modules:
                if any(True for _ in module.parameters()):  # activations may be shared between stages
                    assert module.training is not frozen
                assert all(parameter.requires_grad is not frozen for parameter in module.parameters())
        trained = [key for key, parameter in backbone.named_parameters() if parameter.requires_grad]
        assert bool(trained) == (frozen_stages < stages), trained
        if frozen_stages == 0:
            assert len(trained) == len(list(backbone.parameters()))


@every_member
def test_a_frozen_backbone_is_left_as_it_is(name):
    backbone = small(name, frozen_stages=num_stages(name)).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(images_for(name))
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("name", [name for name, family in MEMBERS.items() if family.has_batch_norm])
def test_norm_eval_keeps_all_batch_norms_in_evaluation(name):
    backbone = small(name, norm_eval=True).train()
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert backbone.training
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@every_member
def test_too_many_frozen_stages(name):
    stages = num_stages(name)
    message = f"has {stages} stages, so frozen_stages must be at most {stages}, got {stages + 1}"
    with pytest.raises(ValueError, match=message):
        small(name, frozen_stages=stages + 1)


# Training


@pytest.mark.parametrize("frozen_stages", [0, 1])
@every_member
def test_gradients_reach_every_unfrozen_parameter(name, frozen_stages):
    stages = num_stages(name)
    for out_indices in {(0,), (-1,), (0, stages - 1)} if stages > 1 else {(0,)}:
        backbone = small(name, out_indices=out_indices, frozen_stages=frozen_stages)
        loss = total(backbone(images_for(name)))
        if loss.requires_grad:
            loss.backward()
        for key, parameter in backbone.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, (out_indices, key)
            assert parameter.requires_grad or frozen_stages > 0, (out_indices, key)


@every_member
def test_checkpointed_gradients_and_statistics_are_the_same(name):
    plain, recomputed = small(name).train(), small(name, gradient_checkpointing=True).train()
    images = images_for(name)
    expected, found = gradients(plain, images), gradients(recomputed, images)
    assert expected.keys() == found.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(
            found[key], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
        )
    for key, buffer in plain.named_buffers():
        torch.testing.assert_close(recomputed.get_buffer(key), buffer)


@every_member
def test_checkpointing_keeps_less(name):
    def kept(**parameters):
        sizes = []
        torch.manual_seed(0)
        backbone = small(name, **parameters).train()
        own = {p.data_ptr() for p in backbone.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel() * (t.data_ptr() not in own)) or t, lambda t: t
        ):
            backbone(images_for(name))
        return sum(sizes)

    assert kept(gradient_checkpointing=True) < 0.8 * kept()


@pytest.mark.parametrize("in_channels", [1, 4])
@every_member
def test_other_numbers_of_channels(name, in_channels):
    backbone = small(name, in_channels).eval()
    with torch.inference_mode():
        outputs = as_tuple(backbone(images_for(name, channels=in_channels)))
    assert all(output.isfinite().all() for output in outputs)
    assert tuple(output.shape[1] for output in outputs) == channels_of(backbone)


# Other forms


@pytest.mark.slow
@every_member
def test_exports_for_batches_of_any_size(name):
    backbone = small(name).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(backbone, (images_for(name),), dynamic_shapes=(batch,))
    images = images_for(name, batch_size=3)
    with torch.no_grad():
        outputs, expected = as_tuple(program.module()(images)), as_tuple(backbone(images))
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted)
