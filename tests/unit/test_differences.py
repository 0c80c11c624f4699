from autocron.model import Declaration
from autocron.node.differences import declared, difference


def schedule(name: str, text: str = "every 5", tz: str = "UTC", module: str = "app") -> Declaration:
    return Declaration(name, "app.f", module, text, tz)


def test_nodes_with_the_same_code_do_not_differ():
    one = declared(["app", "b"], [schedule("a"), schedule("b")])
    other = declared(["b", "app"], [schedule("b"), schedule("a")])
    assert one == other
    assert difference(one, other) == ""


def test_what_only_one_of_them_declares():
    one, other = declared(["app"], [schedule("a"), schedule("b")]), declared(["app"], [schedule("b"), schedule("c")])
    assert difference(one, other) == "only here: a; only there: c"


def test_times_and_zones():
    one, other = declared(["app"], [schedule("a", tz="UTC")]), declared(["app"], [schedule("a", tz="Europe/Rome")])
    assert difference(one, other) == "a is 'every 5' in UTC here, 'every 5' in Europe/Rome there"


def test_a_module_that_one_of_them_has_not_imported_yet_says_nothing():
    one = declared(["app", "late"], [schedule("a", module="late")])
    assert difference(one, declared(["app"], [])) == ""


def test_many_names_are_cut_short():
    one = declared(["app"], [schedule(str(number)) for number in range(9)])
    assert difference(one, declared(["app"], [])) == "only here: 0, 1, 2, 3, 4 and 4 more"
