"""Fine-tune an adapter, measure it against its base, publish it.

    python -m train --config train/configs/qwen2-vl-7b-chartqa.yaml              # the recipe of record, one GPU
    python -m train --config train/configs/qwen2-vl-7b-chartqa.yaml --dry_run    # the same, and nothing is pushed
    python -m train --config train/configs/qwen2-vl-7b-chartqa.yaml --resume     # after Ctrl-C, a crash, a reboot
    python -m train --config train/configs/qwen2-vl-7b-chartqa.yaml --push_only  # publish what is finished
    python -m train --config train/configs/bundled.yaml                          # the bundled adapter, on a CPU
    accelerate launch --config_file train/configs/fsdp_qlora.yaml -m train --config ...  # many GPUs

Every key of the YAML file is a flag too, and the flag wins. `fine_tune` is the whole run, read from top to bottom.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import PartialState
from safetensors import SafetensorError
from trl import ModelConfig, SFTConfig, TrlParser, get_peft_config

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.arms import ADAPTER, ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.startup import set_up_torch
from chartqa_demo.errors import (
    DatasetError,
    EngineError,
    EvaluationError,
    HubError,
    ResultsError,
    first_line,
    print_anything,
)
from chartqa_demo.evaluate import run as evaluate
from chartqa_demo.evaluate.record import check_folder
from chartqa_demo.evaluate.tables import figures_of, rule_as_text
from chartqa_demo.settings import DEFAULT_MAX_PIXELS
from train import base as bases
from train.data import PIXELS_PER_TOKEN, TOKENS_AROUND, DataError, as_dataset, open_data, too_few
from train.progress import (
    RunError,
    check_found,
    check_saved,
    cost,
    disk_is_full,
    forget_after,
    is_sharded,
    last_save,
    package_versions,
    recover,
    run_command,
    run_name,
    step_of,
    trained,
)
from train.publish.card import Run, write_card
from train.publish.push import RESULTS, PublishError, push, repository
from train.publish.scoring import accuracy, answering, draw_rows, gain, training_engine
from train.recipe import Recipe, check_config, check_numbers, with_packaged_config
from train.trainer import (
    ChartTrainer,
    adapter_shapes,
    for_language_model,
    keep_embeddings_on_host,
    stop_gradients_at_vision,
)

# What a person can mend; everything else is a fault of the program and keeps its traceback.
MENDABLE = (DataError, DatasetError, EngineError, EvaluationError, HubError, PublishError, ResultsError, RunError)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 something a person has to change, 130 interrupted."""
    print_anything()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        recipe, args, model_args = parse(arguments)
        if recipe.push_only:
            output = Path(str(args.output_dir))
            print("Published:", push(output, repository(args.hub_model_id, output, args.hub_private_repo)))
        else:
            fine_tune(recipe, args, model_args, arguments)
    except MENDABLE as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError, SafetensorError) as error:
        if not disk_is_full(error):
            raise
        told = "Make room: the same command with --resume continues from the last save."
        print(f"error: The disk takes no more ({first_line(error)}). {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command with --resume continues from the last save.", file=sys.stderr)
        return 130
    return 0


def parse(arguments: list[str]) -> tuple[Recipe, SFTConfig, ModelConfig]:
    """The three parts of a configuration. Raises RunError for what does not go together."""
    parts: Any = (Recipe, SFTConfig, ModelConfig)
    parser = TrlParser(parts, prog="python -m train")
    try:
        arguments = with_packaged_config(arguments)
        check_config(arguments, parts)
        recipe, args, model_args = parser.parse_args_and_config(arguments)
        check_numbers(recipe, args, model_args)
    except ValueError as error:
        raise RunError(str(error)) from error
    if args.hub_token:
        raise RunError("A token given as a flag ends in logs and files: use `hf auth login` or HF_TOKEN.")
    if not model_args.model_name_or_path:
        raise RunError("Which base model? Give --config with a file of train/configs/, or --model_name_or_path.")
    _check_packages(args, model_args)
    if not model_args.use_peft:
        raise RunError("The product of a run is a LoRA adapter: set use_peft: true.")
    if args.n_gpu > 1:  # no launcher: TRL would refuse, and ask for an environment variable
        print(
            f"{args.n_gpu} GPUs are visible; this process uses {args.device}. For all: accelerate launch --multi_gpu."
        )
        args._n_gpu = (
            1  # private, as the Trainer sets it for a model that lies on several devices (transformers 5.23.0)
        )
    return recipe, args, model_args


def _check_packages(args: SFTConfig, model_args: ModelConfig) -> None:
    """Raises RunError for a log that there is not, or a package that is not installed."""
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    known, here = sorted(INTEGRATION_TO_CALLBACK), get_available_reporting_integrations()
    for name in [args.report_to] if isinstance(args.report_to, str) else args.report_to or []:
        if name not in (*known, "all", "none"):
            raise RunError(f"report_to is {name!r}; it has to be one of none, {', '.join(known)}.")
        if name in known and name not in here:
            raise RunError(f"report_to: {name} needs the package {name}: pip install {name}, or take trackio or none.")
    if (model_args.load_in_4bit or model_args.load_in_8bit) and find_spec("bitsandbytes") is None:
        raise RunError("load_in_4bit and load_in_8bit need a package: pip install bitsandbytes.")


def _check_length(recipe: Recipe, args: SFTConfig) -> None:
    """Raises RunError for a max_length that can cut a chart's tokens away."""
    tokens = (recipe.max_pixels or DEFAULT_MAX_PIXELS) // PIXELS_PER_TOKEN + TOKENS_AROUND
    if args.max_length is not None and args.max_length < tokens:
        raise RunError(
            f"max_length is {args.max_length}, and a chart with its question can have about {tokens} tokens: rows "
            "would be cut within the chart. Set max_length: null, or a smaller max_pixels."
        )


def fine_tune(  # noqa: PLR0912, PLR0915 (a run is one story, told from top to bottom)
    recipe: Recipe, args: SFTConfig, model_args: ModelConfig, arguments: list[str]
) -> None:
    """One run: train, keep the best save, compare the three arms on held-out charts, write the card, push."""

    # ------------------------------------------------------------------------------------------------------------
    # Where: a save to go on from, the run's name in trackio, a repository that will take the result
    _check_length(recipe, args)
    bases.check_adapter(model_args)
    output = Path(str(args.output_dir))
    state = PartialState()
    with state.main_process_first():
        check_folder(output)
        if recipe.resume and state.is_main_process:
            recover(output, args.load_best_model_at_end)
        checkpoint = last_save(output, recipe.resume)
        args.run_name = run_name(output, arguments, args.run_name, recipe.resume)
    pushing = args.push_to_hub and not recipe.dry_run
    repo_id = repository(args.hub_model_id, output, args.hub_private_repo) if pushing else None
    args.push_to_hub = False  # the trainer would push every save; here one adapter is pushed, once it is measured
    if not pushing:
        args.trackio_space_id = None

    # ------------------------------------------------------------------------------------------------------------
    # Data and base model
    data = open_data(recipe, args.seed)
    if warning := too_few(len(data.train), data.held_out):
        state.print(warning)
    set_up_torch()
    base = bases.load(recipe, model_args)
    rows, val = (as_dataset(part, base.canvases, base.shrink_to, base.folds_system) for part in (data.train, data.val))

    # ------------------------------------------------------------------------------------------------------------
    # Trainer: loss on the answer alone, accuracy by answering questions
    args.remove_unused_columns = False  # rows are made from a number, a column that the trainer does not know
    try:
        trainer = ChartTrainer(
            model=base.model,
            args=args,
            processing_class=base.processor,
            train_dataset=rows,
            eval_dataset=val,
            peft_config=for_language_model(get_peft_config(model_args), base.model),
            base_name=base.name,
            sizes=data.sizes,
        )
    except ValueError as error:  # TRL and PEFT say which argument, and why
        raise RunError(str(error)) from error
    model: Any = trainer.model  # a PeftModel
    if not recipe.vision_gradients:
        stop_gradients_at_vision(model)
    if recipe.embeddings_on_host:
        keep_embeddings_on_host(model)
    first_rows = [rows[i] for i in range(min(3, len(rows)))]
    state.print("Trained on:", *trainer.supervised_texts(first_rows), sep="\n  ")

    options = Options(max_new_tokens=recipe.max_new_tokens)
    choice = bases.choice(base, model_args, args.device)
    engine = training_engine(model, base.processor, choice, bases.pixel_limits(recipe), output.name)
    if recipe.accuracy_sample and not trainer.is_fsdp_enabled:  # a sharded model cannot generate
        asked = draw_rows(val, recipe.accuracy_sample, args.seed)

        def measure(arms: Sequence[str]) -> dict[str, float]:
            with answering(model):
                return accuracy(engine, asked, arms, options, recipe.accuracy_batch)

        trainer.measure = measure
        args.eval_on_start = checkpoint is None and args.eval_strategy != "no"
    elif args.load_best_model_at_end:
        args.metric_for_best_model, args.greater_is_better = "loss", False

    # ------------------------------------------------------------------------------------------------------------
    # Train, and keep the save that answered best; what is on disk then is the adapter, and whole
    wanted = adapter_shapes(model)
    if trained(output):
        check_found(output, wanted, trained=True)
        model.load_adapter(str(output), "default")
    else:
        if checkpoint and is_sharded(checkpoint) and not trainer.is_fsdp_enabled:
            raise RunError(
                f"{checkpoint.name} is of a sharded run whose training has not ended: go on with the command that "
                "began it, accelerate launch with its --config_file, and --resume. One GPU measures what is trained."
            )
        if checkpoint and trainer.is_fsdp_enabled and not is_sharded(checkpoint):
            raise RunError(f"{checkpoint.name} is of a run that was not sharded: go on with the command that began it.")
        if checkpoint:
            check_found(checkpoint, wanted, trained=False)
        if recipe.resume and state.is_main_process:
            forget_after(args.project, args.run_name, step_of(checkpoint) if checkpoint else -1)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.save_model()
        state.print(cost(trainer.state))
    if not state.is_main_process:
        return
    contract = Contract(
        base=base.name,
        system=str(ADAPTER.system),
        base_revision=base.revision,
        min_pixels=base.min_pixels,
        max_pixels=base.max_pixels,
        dataset=data.name,
        split=data.train_split,
        seed=args.seed,
        versions=package_versions(),
    )
    try:
        check_saved(output, wanted, trained=True)
    except RunError as error:
        if (found := recover(output, args.load_best_model_at_end)) is None:
            raise
        contract.save(output)
        raise RunError(
            f"{error} Its weights were found in {found} and are there now: --resume measures them."
        ) from error
    contract.save(output)
    if trainer.is_fsdp_enabled:
        print("Trained. `python -m train` with the same flags and --resume, on one GPU, measures and publishes it.")
        return

    # ------------------------------------------------------------------------------------------------------------
    # Measure: three arms on held-out charts, resumable like the training
    about = {"dataset": data.name, "split": data.test_split, "limit": recipe.test_sample, "seed": args.seed}
    with answering(model):
        results = evaluate.measure(engine, data.held_out, ARMS, options, output / RESULTS, about=about)
    scores = {arm.key: results.score(arm.key, "canonical") for arm in ARMS}
    contract = replace(contract, scores={arm: round(100 * (one.accuracy or 0), 2) for arm, one in scores.items()})
    figures = figures_of(results)
    write_card(output, contract, figures, data, Run(recipe, args, base.model.config.model_type, run_command(output)))
    contract.save(output)  # last: scores in it say that the card is ours, and PEFT's own is gone
    print(rule_as_text(figures, "canonical"))
    print("Gain:", gain(results))

    # ------------------------------------------------------------------------------------------------------------
    # Publish
    if repo_id:
        print("Published:", push(output, repo_id))
    else:
        print(f"Ready in {output}. Nothing was pushed.")


if __name__ == "__main__":
    sys.exit(main())
