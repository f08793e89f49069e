package main

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

func (d *driver) committed(ctx context.Context, req request) (any, error) {
	fetched, err := d.admin.FetchOffsets(ctx, req.Group)
	if err != nil {
		return nil, err
	}
	found, ok := fetched.Lookup(req.Topic, req.Partition)
	if !ok || found.At < 0 {
		return nil, found.Err
	}
	return found.At, found.Err
}

func (d *driver) listGroups(ctx context.Context, _ request) (any, error) {
	listed, err := d.admin.ListGroups(ctx)
	return listed.Groups(), err
}

func (d *driver) describeGroup(ctx context.Context, req request) (any, error) {
	described, err := d.admin.DescribeGroups(ctx, req.Group)
	if err != nil {
		return nil, err
	}
	group := described[req.Group]
	return map[string]any{
		"state":   strings.ToLower(group.State),
		"members": len(group.Members),
	}, group.Err
}

func (d *driver) deleteGroup(ctx context.Context, req request) (any, error) {
	deleted, err := d.admin.DeleteGroup(ctx, req.Group)
	if err != nil {
		return nil, err
	}
	return nil, deleted.Err
}

func (d *driver) createTopic(ctx context.Context, req request) (any, error) {
	created, err := d.admin.CreateTopic(ctx, req.Partitions, -1, req.Configs, req.Topic)
	if err != nil {
		return nil, err
	}
	return nil, created.Err
}

func (d *driver) listTopics(ctx context.Context, _ request) (any, error) {
	listed, err := d.admin.ListTopics(ctx)
	return listed.Names(), err
}

func (d *driver) describeTopic(ctx context.Context, req request) (any, error) {
	listed, err := d.admin.ListTopics(ctx, req.Topic)
	if err != nil {
		return nil, err
	}
	topic := listed[req.Topic]
	return len(topic.Partitions), topic.Err
}

func (d *driver) deleteTopic(ctx context.Context, req request) (any, error) {
	// A producer that keeps a topic in mind asks for it again, and so creates it again.
	for _, producer := range d.producers {
		producer.PurgeTopicsFromClient(req.Topic)
	}
	deleted, err := d.admin.DeleteTopic(ctx, req.Topic)
	if err != nil {
		return nil, err
	}
	return nil, deleted.Err
}

func (d *driver) describeConfigs(ctx context.Context, req request) (any, error) {
	described, err := d.admin.DescribeTopicConfigs(ctx, req.Topic)
	if err != nil {
		return nil, err
	}
	topic, err := described.On(req.Topic, nil)
	if err != nil {
		return nil, err
	}
	configs := make(map[string]*string)
	for _, config := range topic.Configs {
		configs[config.Key] = config.Value
	}
	return configs, topic.Err
}

func (d *driver) alterConfigs(ctx context.Context, req request) (any, error) {
	var changes []kadm.AlterConfig
	for name, value := range req.Configs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value})
	}
	altered, err := d.admin.AlterTopicConfigs(ctx, changes, req.Topic)
	if err != nil {
		return nil, err
	}
	topic, err := altered.On(req.Topic, nil)
	if err != nil {
		return nil, err
	}
	return nil, topic.Err
}

func (d *driver) createPartitions(ctx context.Context, req request) (any, error) {
	grown, err := d.admin.UpdatePartitions(ctx, req.Total, req.Topic)
	if err != nil {
		return nil, err
	}
	topic, err := grown.On(req.Topic, nil)
	if err != nil {
		return nil, err
	}
	return nil, topic.Err
}

func (d *driver) deleteRecords(ctx context.Context, req request) (any, error) {
	var before kadm.Offsets
	before.Add(kadm.Offset{Topic: req.Topic, Partition: req.Partition, At: req.Before})
	deleted, err := d.admin.DeleteRecords(ctx, before)
	if err != nil {
		return nil, err
	}
	return nil, deleted.Error()
}
