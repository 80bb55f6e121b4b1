"""Words that say nothing of what a text is about: spaCy's lists, by language."""


def stop_words(lang: str) -> frozenset[str]:
    """Return those of a language, in small letters; `lang` is spaCy's code."""
    from ulmfit_ray.text.tokenizers.light_spacy import spacy

    return frozenset(spacy.util.get_lang_class(lang).Defaults.stop_words)
