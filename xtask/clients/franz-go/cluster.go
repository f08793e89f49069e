package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describePartition asks with DescribeTopicPartitions, which alone tells of eligible leaders.
func (d *driver) describePartition(ctx context.Context, req request) (any, error) {
	ask := kmsg.NewPtrDescribeTopicPartitionsRequest()
	ask.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: req.Topic}}
	ask.ResponsePartitionLimit = 100
	described, err := ask.RequestWith(ctx, d.plain)
	if err != nil {
		return nil, err
	}
	for _, topic := range described.Topics {
		if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
			return nil, err
		}
		for _, partition := range topic.Partitions {
			if partition.Partition == req.Partition {
				return map[string]any{
					"leader":         partition.LeaderID,
					"replicas":       numbers(partition.Replicas),
					"isr":            numbers(partition.ISR),
					"elr":            numbers(partition.EligibleLeaderReplicas),
					"last_known_elr": numbers(partition.LastKnownELR),
				}, nil
			}
		}
	}
	return nil, fmt.Errorf("%s/%d is not described", req.Topic, req.Partition)
}

func numbers(nodes []int32) []int32 {
	return append([]int32{}, nodes...)
}

func (d *driver) electLeader(ctx context.Context, req request) (any, error) {
	var set kadm.TopicsSet
	set.Add(req.Topic, req.Partition)
	elected, err := d.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
	if err != nil {
		return nil, err
	}
	return nil, elected[req.Topic][req.Partition].Err
}

func (d *driver) reassign(ctx context.Context, req request) (any, error) {
	var wanted kadm.AlterPartitionAssignmentsReq
	if req.Replicas == nil {
		wanted.CancelAssign(req.Topic, req.Partition)
	} else {
		wanted.Assign(req.Topic, req.Partition, req.Replicas)
	}
	altered, err := d.admin.AlterPartitionAssignments(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return nil, altered.Error()
}

func (d *driver) reassignments(ctx context.Context, _ request) (any, error) {
	listed, err := d.admin.ListPartitionReassignments(ctx, nil)
	if err != nil {
		return nil, err
	}
	names := []string{}
	listed.Each(func(one kadm.ListPartitionReassignmentsResponse) {
		names = append(names, fmt.Sprintf("%s-%d", one.Topic, one.Partition))
	})
	return names, nil
}

func (d *driver) describeQuorum(ctx context.Context, _ request) (any, error) {
	ask := kmsg.NewPtrDescribeQuorumRequest()
	ask.Topics = []kmsg.DescribeQuorumRequestTopic{{
		Topic:      "__cluster_metadata",
		Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}},
	}}
	described, err := ask.RequestWith(ctx, d.plain)
	if err != nil {
		return nil, err
	}
	if len(described.Topics) != 1 || len(described.Topics[0].Partitions) != 1 {
		return nil, errors.New("the quorum is not one partition")
	}
	quorum := described.Topics[0].Partitions[0]
	voters, ends := []int32{}, []int64{}
	for _, voter := range quorum.CurrentVoters {
		voters = append(voters, voter.ReplicaID)
		ends = append(ends, voter.LogEndOffset)
	}
	slices.Sort(voters)
	return map[string]any{"leader": quorum.LeaderID, "voters": voters, "log_ends": ends},
		kerr.ErrorForCode(quorum.ErrorCode)
}

// describeLogDirs tells by node how large the topic's partitions are there.
func (d *driver) describeLogDirs(ctx context.Context, req request) (any, error) {
	described, err := d.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, err
	}
	sizes := map[int32]map[int32]int64{}
	described.Each(func(directory kadm.DescribedLogDir) {
		err = errors.Join(err, directory.Err)
		here := map[int32]int64{}
		for partition, replica := range directory.Topics[req.Topic] {
			here[partition] = replica.Size
		}
		sizes[directory.Broker] = here
	})
	return sizes, err
}
