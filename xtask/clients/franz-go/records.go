package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bytes travel as hexadecimal text; null is a nil slice.
type bytes []byte

func (b bytes) MarshalJSON() ([]byte, error) {
	if b == nil {
		return []byte("null"), nil
	}
	return json.Marshal(hex.EncodeToString(b))
}

func (b *bytes) UnmarshalJSON(text []byte) error {
	var digits *string
	if err := json.Unmarshal(text, &digits); err != nil || digits == nil {
		return err
	}
	// Decoding an empty text gives an empty slice, not nil.
	decoded, err := hex.DecodeString(*digits)
	*b = decoded
	return err
}

// header is a pair of name and value.
type header struct {
	name  string
	value bytes
}

func (h header) MarshalJSON() ([]byte, error) {
	return json.Marshal([2]any{h.name, h.value})
}

func (h *header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[2]any{&h.name, &h.value})
}

type record struct {
	Key       bytes    `json:"key"`
	Value     bytes    `json:"value"`
	Headers   []header `json:"headers"`
	Timestamp *int64   `json:"timestamp"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
}

// driver holds the clients: an admin, producers by their settings, and a group's member.
type driver struct {
	bootstrap string
	plain     *kgo.Client
	admin     *kadm.Client
	producers map[string]*kgo.Client
	member    *kgo.Client

	mu       sync.Mutex // guards assigned
	assigned []int32
}

func newDriver(bootstrap string) (*driver, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.MetadataMinAge(50*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	return &driver{
		bootstrap: bootstrap,
		plain:     client,
		admin:     kadm.NewClient(client),
		producers: make(map[string]*kgo.Client),
	}, nil
}

func (d *driver) operations() map[string]operation {
	return map[string]operation{
		"hello":                hello,
		"produce":              d.produce,
		"consume":              d.consume,
		"offset_for_timestamp": d.offsetForTimestamp,
		"offsets":              d.offsets,
		"subscribe":            d.subscribe,
		"poll":                 d.poll,
		"commit":               d.commit,
		"unsubscribe":          d.unsubscribe,
		"committed":            d.committed,
		"list_groups":          d.listGroups,
		"describe_group":       d.describeGroup,
		"delete_group":         d.deleteGroup,
		"create_topic":         d.createTopic,
		"list_topics":          d.listTopics,
		"describe_topic":       d.describeTopic,
		"delete_topic":         d.deleteTopic,
		"describe_configs":     d.describeConfigs,
		"alter_configs":        d.alterConfigs,
		"create_partitions":    d.createPartitions,
		"delete_records":       d.deleteRecords,
		"describe_partition":   d.describePartition,
		"elect_leader":         d.electLeader,
		"reassign":             d.reassign,
		"reassignments":        d.reassignments,
		"describe_quorum":      d.describeQuorum,
		"describe_log_dirs":    d.describeLogDirs,
	}
}

func (d *driver) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options,
		kgo.SeedBrokers(strings.Split(d.bootstrap, ",")...),
		kgo.AllowAutoTopicCreation(),
		kgo.MetadataMinAge(50*time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
		kgo.FetchMaxWait(250*time.Millisecond),
		// It leaves a follower that died no sooner than this, half an hour if not told.
		kgo.RecheckPreferredReplicaInterval(10*time.Second),
	)...)
}

func (d *driver) producer(req request) (*kgo.Client, error) {
	settings := fmt.Sprint(req.Codec, req.Acks, req.Idempotent)
	if known, ok := d.producers[settings]; ok {
		return known, nil
	}
	codecs := map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	options := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[req.Codec]),
		kgo.RequiredAcks(acks[req.Acks]),
		kgo.ProducerBatchMaxBytes(1 << 20),
		kgo.ProducerLinger(20 * time.Millisecond),
	}
	if !req.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	made, err := d.client(options...)
	if err == nil {
		d.producers[settings] = made
	}
	return made, err
}

func (d *driver) produce(ctx context.Context, req request) (any, error) {
	producer, err := d.producer(req)
	if err != nil {
		return nil, err
	}
	records := make([]*kgo.Record, len(req.Records))
	for i, wanted := range req.Records {
		records[i] = &kgo.Record{
			Topic: req.Topic, Partition: req.Partition, Key: wanted.Key, Value: wanted.Value,
		}
		for _, header := range wanted.Headers {
			made := kgo.RecordHeader{Key: header.name, Value: header.value}
			records[i].Headers = append(records[i].Headers, made)
		}
		if wanted.Timestamp != nil {
			records[i].Timestamp = time.UnixMilli(*wanted.Timestamp)
		}
	}
	results := producer.ProduceSync(ctx, records...)
	if err := results.FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]*int64, len(records))
	for i, written := range records {
		if req.Acks != "0" {
			offsets[i] = &written.Offset
		}
	}
	return offsets, nil
}

func (d *driver) consume(ctx context.Context, req request) (any, error) {
	from := kgo.NewOffset().At(req.From)
	client, err := d.client(kgo.Rack(req.Rack), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{req.Topic: {req.Partition: from}},
	))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.TimeoutMs)*time.Millisecond)
	defer cancel()
	records := []record{}
	for len(records) < req.Count && ctx.Err() == nil {
		read, err := toRead(client.PollRecords(ctx, req.Count-len(records)))
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		records = append(records, read...)
	}
	return records, nil
}

// toRead shows fetched records as the harness reads them.
func toRead(fetches kgo.Fetches) ([]record, error) {
	records := []record{}
	for _, fetched := range fetches.Records() {
		timestamp := fetched.Timestamp.UnixMilli()
		shown := record{
			Key: fetched.Key, Value: fetched.Value, Headers: []header{}, Timestamp: &timestamp,
			Partition: fetched.Partition, Offset: fetched.Offset,
		}
		for _, one := range fetched.Headers {
			shown.Headers = append(shown.Headers, header{one.Key, one.Value})
		}
		records = append(records, shown)
	}
	return records, fetches.Err()
}

func (d *driver) offsetForTimestamp(ctx context.Context, req request) (any, error) {
	listed, err := d.admin.ListOffsetsAfterMilli(ctx, req.Timestamp, req.Topic)
	if err != nil {
		return nil, err
	}
	found, _ := listed.Lookup(req.Topic, req.Partition)
	if found.Err != nil {
		return nil, found.Err
	}
	// Where there is none kadm answers with the end, which has no timestamp.
	if found.Timestamp < 0 {
		return nil, nil
	}
	return found.Offset, nil
}

func (d *driver) offsets(ctx context.Context, req request) (any, error) {
	start, err := d.admin.ListStartOffsets(ctx, req.Topic)
	if err != nil {
		return nil, err
	}
	end, err := d.admin.ListEndOffsets(ctx, req.Topic)
	if err != nil {
		return nil, err
	}
	earliest, _ := start.Lookup(req.Topic, req.Partition)
	latest, _ := end.Lookup(req.Topic, req.Partition)
	return map[string]int64{"earliest": earliest.Offset, "latest": latest.Offset}, nil
}

func (d *driver) subscribe(_ context.Context, req request) (any, error) {
	d.assigned = nil
	gained := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.assigned = append(d.assigned, topics[req.Topic]...)
		slices.Sort(d.assigned)
	}
	lost := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.assigned = slices.DeleteFunc(d.assigned, func(partition int32) bool {
			return slices.Contains(topics[req.Topic], partition)
		})
	}
	member, err := d.client(
		kgo.ConsumerGroup(req.Group),
		kgo.ConsumeTopics(req.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(time.Duration(req.SessionMs)*time.Millisecond),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(gained),
		kgo.OnPartitionsRevoked(lost),
		kgo.OnPartitionsLost(lost),
	)
	d.member = member
	return nil, err
}

func (d *driver) poll(ctx context.Context, req request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.Ms)*time.Millisecond)
	defer cancel()
	records, err := toRead(d.member.PollRecords(ctx, 1000))
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	assigned := append([]int32{}, d.assigned...)
	return map[string]any{"assigned": assigned, "records": records}, nil
}

func (d *driver) commit(ctx context.Context, _ request) (any, error) {
	return nil, d.member.CommitUncommittedOffsets(ctx)
}

func (d *driver) unsubscribe(context.Context, request) (any, error) {
	d.member.Close()
	d.member = nil
	return nil, nil
}
