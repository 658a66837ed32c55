import pytest

from kdsearch.mistakes import Mistake, UserCodeError, user_code


def test_an_error_in_user_code_says_what_raised_it_and_where():
    said = r"space\(\) raised ZeroDivisionError: division by zero \(test_mistakes\.py, line \d+, in test_an_error"
    with pytest.raises(UserCodeError, match=said) as found, user_code("space()"):
        1 / 0  # noqa: B018
    assert "Traceback" in found.value.trace


def test_a_mistake_in_user_code_is_clear_already():
    with pytest.raises(Mistake, match=r"^as it is$") as found, user_code("space()"):
        raise Mistake("as it is")
    assert not isinstance(found.value, UserCodeError)


def test_a_syntax_error_says_its_line():
    with (
        pytest.raises(UserCodeError, match=r"the study file raised SyntaxError: .*line 2\)$"),
        user_code("the study file"),
    ):
        compile("x = 1\nx = = 2\n", "study.py", "exec")


def test_ctrl_c_passes_through():
    with pytest.raises(KeyboardInterrupt), user_code("space()"):
        raise KeyboardInterrupt
