// The OpenTelemetry Collector: its service, its OTLP receiver (gRPC and HTTP) and an exporter that appends every
// batch to a file as one line of OTLP JSON. Usage: otel-collector --config FILE
package main

import (
	"context"
	"log"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

type linesConfig struct {
	Path string `mapstructure:"path"`
}

// Appends lines; a batch is not taken before it is in the file.
type lines struct {
	path  string
	mutex sync.Mutex
	file  *os.File
}

func (l *lines) start(context.Context, component.Host) (err error) {
	l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return err
}

func (l *lines) stop(context.Context) error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

func (l *lines) append(line []byte, err error) error {
	if err != nil {
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, err = l.file.Write(append(line, '\n'))
	return err
}

func newTraces(ctx context.Context, set exporter.CreateSettings, config component.Config) (exporter.Traces, error) {
	l := &lines{path: config.(*linesConfig).Path}
	push := func(_ context.Context, data ptrace.Traces) error {
		return l.append((&ptrace.JSONMarshaler{}).MarshalTraces(data))
	}
	return exporterhelper.NewTracesExporter(ctx, set, config, push, exporterhelper.WithStart(l.start),
		exporterhelper.WithShutdown(l.stop))
}

func newMetrics(ctx context.Context, set exporter.CreateSettings, config component.Config) (exporter.Metrics, error) {
	l := &lines{path: config.(*linesConfig).Path}
	push := func(_ context.Context, data pmetric.Metrics) error {
		return l.append((&pmetric.JSONMarshaler{}).MarshalMetrics(data))
	}
	return exporterhelper.NewMetricsExporter(ctx, set, config, push, exporterhelper.WithStart(l.start),
		exporterhelper.WithShutdown(l.stop))
}

func main() {
	receivers, err := receiver.MakeFactoryMap(otlpreceiver.NewFactory())
	if err != nil {
		log.Fatal(err)
	}
	exporters, err := exporter.MakeFactoryMap(exporter.NewFactory("lines",
		func() component.Config { return &linesConfig{} },
		exporter.WithTraces(newTraces, component.StabilityLevelStable),
		exporter.WithMetrics(newMetrics, component.StabilityLevelStable)))
	if err != nil {
		log.Fatal(err)
	}
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "otel-collector", Description: "OpenTelemetry Collector", Version: "0.82.0"},
		Factories: otelcol.Factories{Receivers: receivers, Exporters: exporters},
	})
	if err := command.Execute(); err != nil {
		log.Fatal(err)
	}
}
