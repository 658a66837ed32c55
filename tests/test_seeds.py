import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from kdsearch.seeds import derive

words = st.lists(st.text(alphabet="abcxyz019", min_size=1) | st.integers(0, 10**9), min_size=1, max_size=4)


@given(words)
def test_seeds_fit_every_generator(parts):
    assert 0 <= derive(*parts) < 2**63


@given(words)
def test_the_same_words_give_the_same_seed(parts):
    assert derive(*parts) == derive(*parts)


@given(words, words)
def test_other_words_give_another_seed(parts, others):
    assert (derive(*parts) == derive(*others)) == ([str(p) for p in parts] == [str(o) for o in others])


def test_the_order_of_words_matters():
    assert derive("start", 1, 2) != derive("start", 2, 1)


def test_seeds_are_alike_in_another_process():
    code = "from kdsearch.seeds import derive; print(derive(0, 'trial', 7))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) == derive(0, "trial", 7)
