"""Names that mmengine's own config text would interpret, and strategies for any others."""

from hypothesis import strategies as st

# The first is another name when mmengine reads it, the second runs a command.
NAMES = (
    'x{{$A:.+}}',
    "it's }}',__import__('os').system('touch ran'),#",
    '{{ fileDirname }}',
    '{{ _base_.model }}',
    "{{'$A:1'}}",
    '{{$A:',
    '""" \\',
    "'''",
    'line\nbreak\r\x0b\x0c\x1c\x85\u2028\u2029end',
    '\x00\x1b[31m',
    'עברית \u202e emoji 👩\u200d🚀 ﬁ',
    '${A} %s \\x7b \\N{DIGIT ONE} # noqa',
)
# Lone surrogates, which file names of other bytes and JSON can hold.
SURROGATES = '\udcff \ud800'
TEXT = st.sampled_from(NAMES) | st.text(max_size=12)
ANY_TEXT = TEXT | st.just(SURROGATES) | st.text(st.characters(exclude_categories=()), max_size=12)
_NUMBERS = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()


def values(text: st.SearchStrategy[str] = ANY_TEXT) -> st.SearchStrategy:
    """Values of a config, nested."""
    return st.recursive(
        text | _NUMBERS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(text | st.just('type'), inner, max_size=3)
        ),
        max_leaves=10,
    )


def configs(text: st.SearchStrategy[str] = ANY_TEXT) -> st.SearchStrategy[dict]:
    """Entries of a config; mmengine keeps some names to itself."""
    names = text | st.sampled_from(['model', 'dict', 'float', 'class', 'globals', 'ﬁ'])
    reserved = ('filename', 'text', 'pretty_text', 'env_variables', '_base_', '_deprecation_')
    return st.dictionaries(
        names.filter(lambda name: not name.startswith('__') and name not in reserved),
        values(text),
        max_size=4,
    )
