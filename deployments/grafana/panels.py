"""Panels in one look: figures, curves, bars and a table, all of Prometheus."""

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Panel,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
JOULES, GRAMS, WATTS, SHARE, SECONDS, COUNT, AGO = (
    "joule", "massg", "watt", "percentunit", "s", "none", "dateTimeFromNow",
)  # fmt: skip
Rows = dict[str, list[Builder[Panel]]]


def query(expression: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    """A query to Prometheus, over the dashboard's time or for its end alone."""
    asked = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)
    return asked.instant() if instant else asked.range()


def number(title: str, unit: str, expression: str, said: str, *, bad_from: float | None = None) -> stat.Panel:
    """One figure; it turns amber from bad_from on."""
    steps = [Threshold(value=None, color="text")]
    if bad_from is not None:
        steps.append(Threshold(value=bad_from, color="orange"))
    shown = stat.Panel().title(title).description(said).unit(unit).datasource(SOURCE)
    shown = shown.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    shown = shown.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    shown = shown.graph_mode(shapes.BigValueGraphMode.NONE).no_value("-").height(4).span(4)
    return shown.with_target(query(expression, instant=True))


def lines(title: str, unit: str, expression: str, legend: str, said: str, *, stacked: bool = False) -> timeseries.Panel:
    """Curves over time, one on the other where they add up."""
    shown = timeseries.Panel().title(title).description(said).unit(unit).datasource(SOURCE).height(8).span(12)
    shown = shown.min(0).fill_opacity(25 if stacked else 0).line_width(1).no_value("-")
    shown = shown.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
    legends = common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST)
    shown = shown.legend(legends.placement(shapes.LegendPlacement.BOTTOM).show_legend(True))
    if stacked:
        shown = shown.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    return shown.with_target(query(expression, legend))


def bars(title: str, unit: str, expression: str, legend: str, said: str) -> bargauge.Panel:
    """Lying bars, the longest first."""
    shown = bargauge.Panel().title(title).description(said).unit(unit).datasource(SOURCE).height(8).span(12).min(0)
    shown = shown.orientation(shapes.VizOrientation.HORIZONTAL).display_mode(shapes.BarGaugeDisplayMode.BASIC)
    shown = shown.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.FIXED).fixed_color("blue")).no_value("-")
    shown = shown.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return shown.with_target(query(f"sort_desc({expression})", legend, instant=True))


def rows_of(title: str, said: str, columns: dict[str, tuple[str, str]], *, leads: tuple[str, str]) -> table.Panel:
    """A table: columns by their titles, each a query and its unit. leads: a column, and where its values lead to."""
    shown = table.Panel().title(title).description(said).datasource(SOURCE).height(8).span(24).no_value("-")
    for name, (expression, _) in columns.items():
        shown = shown.with_target(query(expression, instant=True).format(PromQueryFormat.TABLE).ref_id(name))
    shown = shown.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    arranged = {"excludeByName": {"Time": True}, "renameByName": {f"Value #{name}": name for name in columns}}
    shown = shown.with_transformation(DataTransformerConfig(id_val="organize", options=arranged))
    for name, (_, unit) in columns.items():
        shown = shown.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
    column, url = leads
    links = [{"title": "its own page", "url": f"{url}=${{__value.raw}}&${{__url_time_range}}"}]
    return shown.override_by_name(column, [DynamicConfigValue(id_val="links", value=links)])


def page(uid: str, title: str, said: str, variables: list[dashboard.QueryVariable], rows: Rows) -> Dashboard:
    """A dashboard: rows of panels by their titles."""
    made = dashboard.Dashboard(title).uid(uid).description(said).tags(["e2s"]).time("now-24h", "now").refresh("1m")
    made = made.timezone("browser").editable()
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for variable in variables:
        made = made.with_variable(variable)
    for row, panels in rows.items():
        made = made.with_row(dashboard.Row(row))
        for panel in panels:
            made = made.with_panel(panel)
    built = made.build()
    for place, panel in enumerate(built.panels or [], start=1):
        panel.id_val = place
    return built
