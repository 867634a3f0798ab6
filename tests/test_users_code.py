"""Where a warning points to."""

import threading
import warnings

import pytest

from e2s_tasks import users_code


def test_a_warning_points_to_the_users_own_line():
    with pytest.warns(UserWarning, match="mind this") as caught:
        list(map(lambda _: users_code.warn("mind this", UserWarning), range(1)))  # noqa: C417
    assert caught[0].filename == __file__


def test_a_warning_from_a_thread_of_ours_points_to_no_line():
    def in_a_thread():
        thread = threading.Thread(target=users_code.warn, args=("mind this", UserWarning))
        thread.start()
        thread.join()

    with pytest.warns(UserWarning, match="mind this") as caught:
        in_a_thread()
    shown = warnings.formatwarning("mind this", UserWarning, caught[0].filename, caught[0].lineno)
    assert shown == "<e2s_tasks>:0: UserWarning: mind this\n"


def test_a_warning_never_fails_the_work_even_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        users_code.warn("mind this", UserWarning)
