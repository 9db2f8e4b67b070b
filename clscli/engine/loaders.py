"""From a plan to the batches of its two splits, and where their pictures are kept."""

from __future__ import annotations

import dataclasses

import torch

from clscli.data.loader import BatchLoader, Loader, auto_workers
from clscli.data.pipeline import output_shape
from clscli.data.resident import ResidentLoader, hindrance
from clscli.engine.distributed import World
from clscli.engine.pixel_caches import open_caches
from clscli.engine.prepare import Plan


def settle_cache(plan: Plan) -> Plan:
    """Replace `data.cache = "auto"` by "device" for small pictures that can be augmented in batches, else "none".

    Raises SpecError when the spec asks for "device" and it cannot be.
    """
    wanted = plan.spec.spec.data.cache
    if wanted not in ("auto", "device"):
        return plan
    train, val = (plan.data.train, plan.train_transforms), (plan.data.val, plan.eval_transforms)
    reason = hindrance(plan.spec, train, val)
    if reason is not None and wanted == "device":
        message = f'"device" keeps small pictures where they are computed, but {reason} -- write "auto" or "none"'
        raise plan.spec.error(("data", "cache"), message)
    settled = "none" if reason else "device"
    return dataclasses.replace(plan, spec=plan.spec.settled("data", "cache", settled))


def open_loaders(plan: Plan, device: torch.device, world: World, batch_size: int | None) -> tuple[Loader, Loader]:
    """Make the loaders for training and validation; `batch_size` is of all processes together."""
    spec = plan.spec.spec
    workers = spec.data.num_workers
    if workers == "auto":
        workers = auto_workers(world.local_size)
    caches = open_caches(plan, world) if spec.data.cache in ("memory", "disk") else {}

    def loader(split: str) -> Loader:
        is_training = split == "train"
        view = plan.data.train if is_training else plan.data.val
        transforms = plan.train_transforms if is_training else plan.eval_transforms
        size = batch_size or spec.data.images_per_batch
        sampler = plan.sampler if is_training else None
        if spec.data.cache == "device":
            return ResidentLoader(
                view,
                transforms,
                device,
                batch_size=size,
                seed=spec.seed,
                sampler=sampler,
                scaled_decode=spec.data.scaled_decode,
                rank=world.rank,
                processes=world.size,
            )
        return BatchLoader(
            view,
            transforms,
            batch_size=size,
            seed=spec.seed,
            sampler=sampler,
            num_workers=workers,
            image_shape=output_shape(transforms, view) if is_training else plan.blueprint.image_shape,
            scaled_decode=spec.data.scaled_decode,
            cache=caches.get(split),
            pin_memory=device.type == "cuda",
            rank=world.rank,
            processes=world.size,
        )

    return loader("train"), loader("val")
