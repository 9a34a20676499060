from dynamoe_search.report.schedules import bars, plot_schedules, schedule_table, sparkline
from dynamoe_search.schedules import Schedule


def test_bars_are_as_high_as_their_counts() -> None:
    assert sparkline(Schedule((8, 1))) == "█▁"
    assert len(bars(Schedule((3, 2, 1)), height=5)) == 6
    table = schedule_table({"one": Schedule((8, 1))}, {"one": "its rule"})
    assert table.rows == [("one", "8-1", "█▁", "its rule")]


def test_a_panel_per_schedule() -> None:
    figure = plot_schedules({"one": Schedule((4, 2)), "two": Schedule((1, 5))})
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[4, 2], [1, 5]]
    six = plot_schedules({str(number): Schedule((4, 2)) for number in range(6)})
    assert [axes.get_title() for axes in six.axes] == list("012345")
