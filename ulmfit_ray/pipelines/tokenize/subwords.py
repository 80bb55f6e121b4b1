"""Phase 0 of tokenizing into pieces of words: the model, given or trained on a sample of the corpus.

It runs in the driver, before Ray is asked for anything, and writes tokenizer.model once. Workers read it from there.
Training on 16 MB of text took 10 s and 450 MB on two cores.
"""

from collections.abc import Iterator
from functools import partial

from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.documents import Document
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import CorpusFacts, Unit, units_of
from ulmfit_ray.pipelines.attempts import tried
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import read_tokenizer_model
from ulmfit_ray.storage.plan import Plan
from ulmfit_ray.text.tokenizers.kinds import WITH_MODEL
from ulmfit_ray.text.types import lines_of

MAX_UNITS_SAMPLED = 64


def given_model(config: TokenizeConfig) -> bytes | None:
    """Return the model that the config names, by itself or with a vocabulary; None if it names none.

    Raises:
        ConfigError: there is no such file, or only one of text and vocabulary is to be of pieces.
    """
    if config.tokenizer.kind not in WITH_MODEL:
        if config.vocab is not None and read_tokenizer_model(Folder(config.vocab)) is not None:
            raise ConfigError(f"--vocab {config.vocab} is of pieces of words: add --tokenizer.kind sentencepiece")
        return None
    place = config.tokenizer.model
    if config.vocab is not None:
        place = f"{config.vocab}/tokenizer.model"
    if place is None:
        return None
    try:
        return Folder(place).read_bytes("")
    except FileNotFoundError as error:
        if config.vocab is not None:
            raise ConfigError(
                f"--vocab {config.vocab} has no tokenizer.model: its words were not cut into pieces;"
                " leave out --tokenizer.kind, or name another vocabulary"
            ) from error
        raise ConfigError(f"--tokenizer.model {place} does not exist") from error


def claimed_model(config: TokenizeConfig, folder: Folder, plan: Plan, given: bytes | None) -> bytes | None:
    """Return the content of the output's tokenizer.model; write it if it is not there (None: the kind has none).

    Raises:
        ConfigError: the output was begun with another model than the given one.
        ValueError: no model can be trained on the text.
    """
    if config.tokenizer.kind not in WITH_MODEL:
        return None
    model = read_tokenizer_model(folder)
    if model is not None:
        if given is not None and given != model:
            raise ConfigError(
                f"{folder.uri} was begun with another tokenizer.model: bring that one back, or use --overwrite"
            )
        return model
    model = given if given is not None else _trained(config, plan)
    folder.publish_bytes(model, "tokenizer.model")
    return model


def _trained(config: TokenizeConfig, plan: Plan) -> bytes:
    from ulmfit_ray.text.tokenizers.subwords import train

    settings, options = config.tokenizer_settings(), config.tokenizer
    with Bar("0 subwords", 1, "models") as bar:
        texts = tried(partial(sample_texts, plan, options.sample_bytes))
        if settings.eos == "line":
            texts = [line for text in texts for line in lines_of(text)]
        bar.advance(0, note=f"training on {sum(len(text.encode()) for text in texts):,} bytes of text")
        model = train(texts, settings, model_type=options.model_type, vocab_size=options.vocab_size)
        bar.advance(1)
    return model


def sample_texts(plan: Plan, num_bytes: int) -> list[str]:
    """Return fields of documents, `num_bytes` together or all there are: the first ones of units that lie evenly.

    They depend on the plan alone. Each unit gives an equal share of what is still wanted, in the order of the plan; its
    last text may be cut.
    """
    assert plan.facts.corpus is not None
    corpus = CorpusFacts.from_json(plan.facts.corpus)
    count = min(MAX_UNITS_SAMPLED, len(plan.units))
    texts: list[str] = []
    for number in range(count):
        (unit,) = units_of(plan.rows(plan.units[number * len(plan.units) // count]))
        left = share = num_bytes // (count - number)
        for text in _texts(unit, corpus):
            encoded = text.encode()[:left]
            texts.append(encoded.decode(errors="ignore"))
            left -= len(encoded)
            if not left:
                break
        num_bytes -= share - left
    return texts


def _texts(unit: Unit, corpus: CorpusFacts) -> Iterator[str]:
    """Yield the fields of a unit's readable documents."""
    file_format = corpus.file_format()
    parts = (
        stream_shards(unit.pieces[0], file_format, corpus.columns, corpus.unit_bytes) if unit.is_streamed else [None]
    )
    for part in parts:
        for document in documents_of(unit, part, file_format, corpus.columns):
            if isinstance(document, Document):
                yield from document.fields
