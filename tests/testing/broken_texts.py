"""What the kit says of each component of `broken_models` and `broken_rest`; * stands for words of others."""

BROKEN: dict[str, dict[str, dict[str, str]]] = {
    "backbones": {
        "by_position": {
            "signature": "parameters 'width', 'depth' can be given by position -- put a * before them",
        },
        "stars": {
            "signature": "it takes '**others', but each parameter must have a name of its own -- a spec's table "
            "is checked against the signature",
        },
        "undescribed": {
            "description": "it has no docstring -- say in one sentence what it does",
        },
        "rambling": {
            "description": "the first line is 'One convolution, of which more is said' -- end it with a full "
            "stop, and leave the details to a paragraph below",
        },
        "bad_default": {
            "defaults": "the default of parameter 'width' does not fit: must be at least 4, got 2 -- a resolved "
            "spec writes defaults out, and must load to itself",
        },
        "demanding": {
            "builds": "width: is required -- give check_component the parameters that it needs",
        },
        "failing": {
            "builds": "building it fails with RuntimeError: out of order -- give each parameter a default, or "
            "check_component the parameters that it needs",
        },
        "no_module": {
            "module": "it is a NoModule -- derive it from nn.Module, and call super().__init__()",
        },
        "no_channels": {
            "out_channels": "out_channels is None -- set self.out_channels in __init__",
        },
        "wrong_channels": {
            "outputs": "out_channels says 4 and 8, but its outputs have 8 channels -- return a map or a vector "
            "for each of out_channels",
        },
        "returns_list": {
            "outputs": "for 2 pictures it returns a list -- return a map or a vector for each of out_channels",
        },
        "one_size": {
            "sizes": "pictures of 64x96 fail with RuntimeError: * -- pool what depends on the size, or raise "
            "a ValueError that says which sizes it needs",
        },
        "large": {
            "outputs": "it takes no picture of 64x64 or 64x96; of 64x96 it says: Large needs images of at least "
            '200x200 pixels -- name sizes that it takes: check_component("backbones", "large", '
            "Inputs(image_sizes=((224, 224),)))",
        },
        "speechless": {
            "sizes": "it refuses 64x96 without a word -- say in the ValueError what it needs",
        },
        "in_colour": {
            "channels": "pictures of 1 channel fail with RuntimeError: * -- take in_channels as a parameter, and "
            "give it to the first layer",
        },
        "writes_input": {
            "inputs": "it writes into its inputs -- other parts read them: use no inplace=True on them",
        },
        "train_returns_nothing": {
            "modes": "train() does not return it -- end train(self, mode=True) with return self",
        },
        "stays_in_training": {
            "modes": "after eval() norm is in training mode -- call super().train(mode)",
            "samples": "a picture gives something else alone than in a batch of two -- take no statistics of "
            "the batch unless self.training",
        },
        "always_drops": {
            "samples": "twice the same gives two results in evaluation -- drop nothing out unless self.training",
        },
        "looks_at_others": {
            "samples": "a picture gives something else alone than in a batch of two -- take no statistics of "
            "the batch unless self.training",
        },
        "unused": {
            "gradients": "no gradient reaches 'spare.weight', 'spare.bias' -- use it in forward, or remove it: "
            "several processes would wait for its gradient",
        },
        "detached": {
            "gradients": "no gradient reaches any parameter -- detach nothing, and compute in tensors",
        },
        "infinite": {
            "gradients": "the gradient of 'conv.weight', 'conv.bias' is not finite -- look for a division by 0 or "
            "a log of 0",
        },
        "forgets_direction": {
            "state_dict": "one that loads it computes something else -- keep every tensor that is drawn or learnt "
            "as a parameter or a buffer",
        },
        "random_shape": {
            "state_dict": "loading it fails with RuntimeError: * -- build the same tensors every time",
        },
        "holds_lambda": {
            "copies": "pickling it fails with * -- keep no lambda, open file or local class in it; classes and "
            "functions belong at the top of a module",
        },
        "branches": {
            "compiles": "tracing it fails: * -- compute in tensors alone, or say compiles = False in the class",
        },
        "BadName": {
            "name": "'BadName' cannot be written in a spec: a name has only a-z, 0-9 and _, and begins with "
            "a letter -- rename its entry point",
        },
        "absent": {
            "imports": "broken 1.0 (backbone 'absent') cannot be imported: ModuleNotFoundError: No module named "
            "'broken_absent' -- reinstall broken, or see what works with: clscli list --check",
        },
        "nothing": {
            "name": "unknown backbone 'nothing' -- did you mean 'train_returns_nothing'? (see: clscli list "
            "backbones) -- entry points are seen after an install: run pip install -e . again",
        },
    },
    "necks": {
        "pool": {
            "several": "two outputs fail with AttributeError: * -- begin forward with: outputs[-1] if it is a "
            "tuple",
        },
        "no_channels": {
            "out_channels": "out_channels is None -- set self.out_channels in __init__",
        },
    },
    "heads": {
        "takes_first": {
            "several": "of two outputs it does not take the last one -- begin forward with: outputs[-1] if it "
            "is a tuple",
        },
        "thousand_classes": {
            "outputs": "for 2 pictures and 5 classes it returns float32 (2, 1000) -- return float (2, 5)",
        },
        "nothing_fits": {
            "builds": "it takes neither maps nor vectors, one or several: ValueError: no -- name features that "
            'it takes: check_component("heads", "nothing_fits", Inputs(features=((8, 14, 14), (16, '
            "7, 7))))",
        },
        "predicts_two": {
            "predict": "predict returns (float32 (2, 5), float32 (2, 5)) -- return float (2, 5) for 2 pictures",
        },
        "no_scalar": {
            "loss": "loss returns float32 (2,) -- return a finite scalar",
        },
    },
    "losses": {
        "not_reduced": {
            "scalar": "it returns float32 (8,) -- return loss.mean()",
        },
        "indices_only": {
            "soft_targets": "targets float (B, K) fail with RuntimeError: * -- take them, or raise a ValueError "
            "that says so: mixup makes such targets",
        },
        "upwards": {
            "direction": "it is -0.000182 for the right classes and -10 for wrong ones -- return what is to be "
            "made small: perhaps a minus is missing",
        },
        "without_gradient": {
            "gradients": "the logits get none -- detach nothing, and compute in tensors",
        },
        "of_probabilities": {
            "finite": "for logits of 1000 and the wrong classes it is inf, with a gradient that is not finite "
            "-- compute it from log_softmax or logsigmoid rather than from probabilities",
        },
        "secret_sum": {
            "reduction": "it says it is a mean, but of every sample twice it is 2 times as large -- divide by the "
            'number of samples, or set reduction = "sum"',
        },
        "writes_logits": {
            "inputs": "it writes into the logits -- other losses read them: use no operation with _",
        },
        "random_buffer": {
            "state_dict": "loading it fails with RuntimeError: * -- build the same tensors every time",
        },
        "gives_pairs": {
            "given": "the loss of one batch returns (float32 (), uint8 (8, 3, 8, 8)) -- return a scalar",
        },
    },
    "transforms": {
        "makes_floats": {
            "output": "of uint8 (3, 123, 157) it makes float32 (3, 123, 157) -- return uint8 (C, H, W): floats "
            "are for the model, which normalises by itself",
        },
        "writes_image": {
            "inputs": "it writes into the picture -- write into image.clone()",
        },
        "own_generator": {
            "draws": "the same seed gives another picture the second time -- draw from torch.rand and its "
            "like alone, and keep no generator, counter or cache",
        },
        "random_in_eval": {
            "evaluation": "built for the split 'val', it is random -- leave chance to the split 'train'",
        },
        "holds_lambda": {
            "copies": "pickling it fails with * -- keep no lambda, open file or local class in it; classes and "
            "functions belong at the top of a module",
        },
        "other_region": {
            "region": "its region is not what calling it returns -- let calling it return take(image, "
            "self.region(height, width)) of clscli.data.region",
        },
        "writer": {
            "imports": "importing it writes to {file}; importing it connects to ('127.0.0.1', 9) -- do this "
            "where the component is first used, never while it is imported",
        },
    },
    "batch_transforms": {
        "certainly": {
            "probability": "p is 2 -- set self.p to a float from 0 to 1",
        },
        "indices": {
            "output": "it returns (float32 (4, 3, 24, 32), int64 (4,)) -- return (float32 (4, 3, 24, 32), "
            "float32 (4, 5)) for 4 images",
        },
        "doubled": {
            "targets": "the least share of a class is 0, and the sum of all up to 2 -- give the classes of a "
            "mixed picture the shares that they have of it",
        },
        "counts": {
            "draws": "the same seed gives another batch the second time -- draw from torch.rand and its like "
            "alone, and keep no generator, counter or cache",
        },
    },
    "datasets": {
        "twice_a": {
            "classes": "the class 'a' is there twice -- give every class a name of its own",
        },
        "empty": {
            "length": "it has no samples -- give check_component parameters with which it has",
        },
        "float_pixels": {
            "items": "the source of item 0 cannot be read: UnreadableImageError: * -- return a path, encoded "
            "bytes, a Pillow image, or pixels uint8 (3, H, W)",
        },
        "no_such_class": {
            "labels": "the target of item 2 is 2, of 2 classes -- return the position of its class in "
            "self.classes, an int",
        },
        "other_targets": {
            "targets": "targets[1] is 0, but item 1 has 1 -- keep both in the same order",
        },
        "same_names": {
            "names": "samples 0 and 1 are both named 'picture' -- name each by its place in the data",
        },
        "open_file": {
            "copies": "pickling it fails with TypeError: * -- keep no lambda, open file or local class in it; "
            "classes and functions belong at the top of a module",
        },
    },
    "samplers": {
        "no_samples": {
            "length": "its length is 0 -- return the number of samples in an epoch",
        },
        "one_too_many": {
            "order": "its indices are from 1 to 60 -- draw from 0 to 59: len(targets) - 1",
        },
        "float_order": {
            "order": "it returns float32 (60,) -- return int64 (60,), as long as its length",
        },
        "global_order": {
            "draws": "the same generator gives another order the second time -- pass generator=generator to "
            "every function that draws, and keep nothing",
        },
    },
    "optimizers": {
        "no_optimizer": {
            "optimizer": "it is a NoOptimizer -- derive it from torch.optim.Optimizer",
        },
        "first_group": {
            "optimizer": "not in one of its groups exactly once: 'token', 'norm.weight', 'norm.bias' and 2 more "
            "-- keep all parameters that it is given",
        },
        "skips_vectors": {
            "step": "two steps leave as they were: 'norm.weight', 'norm.bias', 'hidden.bias' and 1 more -- "
            "update every parameter that has a gradient",
        },
        "needs_gradients": {
            "step": "a step fails with TypeError: * -- leave out parameters whose grad is None",
        },
        "own_rate": {
            "rate": "with lr 0 in every group a step moves weights by up to * -- read group['lr'] at each "
            "step: schedulers change it there",
        },
        "own_count": {
            "state_dict": "one that loads it takes another step with 'token', 'stem.weight', 'norm.weight' and 5 "
            "more -- keep what a step needs in self.state and in the groups, not in other attributes",
        },
    },
    "schedulers": {
        "negative": {
            "factors": "at step 51 of 100 it returns -0.020000000000000018 -- return a float that is not "
            "negative: the rate is multiplied by it",
        },
        "stepped": {
            "pure": "step 99 has the factor 2.65614e-05 in one order and 0.9 in another -- compute it from "
            "the step: a run that is resumed begins anywhere",
        },
        "heavy": {
            "momentum": "momentum(0) is 1.5 -- return a float from 0 to 1, or None at all steps",
        },
        "forgetful": {
            "observe": "one that loads its state returns other factors -- keep in it all that it has observed",
        },
        "stateless": {
            "observe": "it has no state_dict and no load_state_dict -- keep there what it has observed",
        },
    },
    "hooks": {
        "misspelt": {
            "events": "nothing ever calls on_epoch_ended -- did you mean 'on_epoch_end'?",
        },
        "eventless": {
            "events": "it has no event -- give it one of on_run_start, on_epoch_start, on_step_end, "
            "on_validation_end, on_epoch_end, on_run_end",
        },
        "urgent": {
            "attributes": "priority is 'high' -- set it to a value of type int",
        },
        "stumbles": {
            "run": "a run of two epochs ends with: broken 1.0 (hook 'stumbles') failed in on_epoch_end: "
            "AttributeError: 'HookState' object has no attribute 'write' -- see "
            "clscli.engine.hooks.HookState for what an event is given",
        },
        "never_loads": {
            "state_dict": "it has state_dict, but no load_state_dict -- take back there what the other returns",
        },
        "loads_nothing": {
            "state_dict": "one that loads it keeps something else -- set every value of the state again",
        },
    },
}
