package dev.nanopool.bench;

import java.awt.BasicStroke;
import java.awt.Color;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.ChartEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.AxesChartStyler;
import org.knowm.xchart.style.Styler.LegendPosition;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** What was measured, as Markdown and SVG: medians over the rounds, and ratios to nanopool in the same round. */
final class Report {
    private final Path directory;
    private final StringBuilder text;

    Report(Path directory, String header) throws IOException {
        this.directory = Files.createDirectories(directory);
        this.text = new StringBuilder(header);
    }

    /** Adds a section, and writes all that there is so far, so that a run that is ended early leaves a report. */
    void add(String title, String prose, String body) throws IOException {
        text.append("\n## ")
                .append(title)
                .append("\n\n")
                .append(prose)
                .append("\n\n")
                .append(body);
        Files.writeString(directory.resolve("results.md"), text);
        System.out.println("## " + title + "\n\n" + body);
    }

    /** The points measured in one part of the benchmarks; {@code unit} says what the points are, {@code key} is compared. */
    static final class Table {
        private final String unit;
        private final String key;
        private final Map<String, Map<Contender, Map<Integer, Map<String, Double>>>> samples = new LinkedHashMap<>();
        private final Set<String> failures = new LinkedHashSet<>();

        Table(String unit, String key) {
            this.unit = unit;
            this.key = key;
        }

        void add(String point, Contender contender, int round, Map<String, Double> metrics) {
            samples.computeIfAbsent(point, any -> new EnumMap<>(Contender.class))
                    .computeIfAbsent(contender, any -> new TreeMap<>())
                    .put(round, metrics);
        }

        void fail(Contender contender, int round, String why) {
            failures.add("- " + contender + " failed in round " + round + ": " + why + "\n");
        }

        /** A table of these points alone. */
        Table only(Predicate<String> points) {
            Table part = new Table(unit, key);
            samples.forEach((point, all) -> {
                if (points.test(point)) part.samples.put(point, all);
            });
            return part;
        }

        /** What is compared, as measured in that round; 0 if it failed. */
        double value(String point, Contender contender, int round) {
            return of(point, contender).getOrDefault(round, Map.of()).getOrDefault(key, 0.0);
        }

        /** NaN, if there is none. */
        double median(String point, Contender contender, String metric) {
            return median(of(point, contender).values().stream().map(sample -> sample.get(metric)));
        }

        private Map<Integer, Map<String, Double>> of(String point, Contender contender) {
            return samples.getOrDefault(point, Map.of()).getOrDefault(contender, Map.of());
        }

        private double ratio(String point, Contender contender) {
            Map<Integer, Map<String, Double>> base = of(point, Contender.NANOPOOL);
            return median(of(point, contender).entrySet().stream()
                    .filter(round -> base.containsKey(round.getKey()))
                    .map(round ->
                            round.getValue().get(key) / base.get(round.getKey()).get(key)));
        }

        private static double median(Stream<Double> values) {
            double[] sorted = values.filter(Objects::nonNull)
                    .mapToDouble(Double::doubleValue)
                    .sorted()
                    .toArray();
            int middle = sorted.length / 2;
            if (sorted.length == 0) return Double.NaN;
            return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        }

        private Set<String> metrics() {
            Set<String> metrics = new LinkedHashSet<>();
            samples.values()
                    .forEach(all -> all.values()
                            .forEach(rounds -> rounds.values().forEach(sample -> metrics.addAll(sample.keySet()))));
            return metrics;
        }

        String markdown() {
            StringBuilder text = new StringBuilder("| " + unit + " | |");
            for (String metric : metrics()) text.append(' ').append(metric).append(" |");
            text.append(" rounds | ").append(key.replaceAll(" .*", "")).append(" / nanopool's |\n| --- | --- |");
            text.append(" ---: |".repeat(metrics().size() + 2)).append('\n');
            samples.forEach((point, contenders) -> contenders.forEach((contender, rounds) -> {
                text.append("| ").append(point).append(" | ").append(contender).append(" |");
                for (String metric : metrics()) {
                    text.append(' ')
                            .append(number(median(point, contender, metric)))
                            .append(" |");
                }
                text.append(' ').append(rounds.size()).append(" | ");
                text.append(number(ratio(point, contender))).append(" |\n");
            }));
            failures.forEach(text.append(failures.isEmpty() ? "" : "\n")::append);
            return text.toString();
        }

        private static String number(double value) {
            if (Double.isNaN(value)) return "";
            String format = value == Math.rint(value) || Math.abs(value) >= 100
                    ? "%,.0f"
                    : Math.abs(value) >= 10 ? "%.1f" : "%.2f";
            return String.format(Locale.ROOT, format, value);
        }
    }

    /** A line for each contender over the points, which are numbers. */
    void lines(Table table, String metric, String file, boolean isXLogarithmic, boolean isYLogarithmic)
            throws IOException {
        XYChart chart = new XYChartBuilder()
                .width(800)
                .height(500)
                .xAxisTitle(table.unit)
                .yAxisTitle(metric)
                .build();
        style(chart.getStyler());
        chart.getStyler().setXAxisLogarithmic(isXLogarithmic).setYAxisLogarithmic(isYLogarithmic);
        chart.getStyler().setXAxisDecimalPattern("#,###").setYAxisDecimalPattern("#,##0.###");
        if (!isYLogarithmic) chart.getStyler().setYAxisMin(0.0);
        for (Contender contender : Contender.values()) {
            List<Double> x = new ArrayList<>();
            List<Double> y = new ArrayList<>();
            for (String point : table.samples.keySet()) {
                double value = table.median(point, contender, metric);
                if (Double.isNaN(value)) continue;
                x.add(Double.valueOf(point));
                y.add(value);
            }
            if (x.isEmpty()) continue;
            XYSeries line = chart.addSeries(contender.toString(), x, y);
            line.setMarker(SeriesMarkers.CIRCLE).setMarkerColor(contender.color);
            line.setLineColor(contender.color);
            line.setLineWidth(contender == Contender.NANOPOOL ? 4 : 2);
        }
        ChartEncoder.saveChart(chart, directory.resolve(file).toString(), "svg");
    }

    /** A group of bars for each point. */
    void bars(Table table, String metric, String file, boolean isLogarithmic) throws IOException {
        CategoryChart chart = new CategoryChartBuilder()
                .width(800)
                .height(500)
                .yAxisTitle(metric)
                .build();
        style(chart.getStyler());
        // XChart takes 0 for the least value to show, which has no logarithm.
        if (isLogarithmic) chart.getStyler().setYAxisLogarithmic(true).setYAxisMin(1.0);
        List<String> points = List.copyOf(table.samples.keySet());
        if (points.size() > 6) chart.getStyler().setXAxisLabelRotation(45);
        for (Contender contender : Contender.values()) {
            List<Double> values = new ArrayList<>();
            for (String point : points) {
                double value = table.median(point, contender, metric);
                values.add(Double.isNaN(value) ? null : Double.valueOf(Math.max(value, 1)));
            }
            if (values.stream().allMatch(Objects::isNull)) continue;
            chart.addSeries(contender.toString(), points, values).setFillColor(contender.color);
        }
        ChartEncoder.saveChart(chart, directory.resolve(file).toString(), "svg");
    }

    private static void style(AxesChartStyler styler) {
        styler.setPlotGridLinesStroke(new BasicStroke(0.5f)); // dashes make large files
        styler.setChartBackgroundColor(Color.WHITE).setLegendPosition(LegendPosition.OutsideE);
    }
}
