// A driver around @platformatic/kafka.

import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import { readFileSync } from 'node:fs'
import zlib from 'node:zlib'
import {
  Admin,
  ConfigResourceTypes,
  Consumer,
  MessagesStreamModes,
  Producer,
} from '@platformatic/kafka'
import { bytesOrNull, hexOrNull, serve, until } from './protocol.mjs'

const main = createRequire(import.meta.url).resolve('@platformatic/kafka')
const { version } = JSON.parse(readFileSync(join(dirname(main), '..', 'package.json')))

const ACKS = { 0: 0, 1: 1, all: -1 }
const INCREMENTAL_SET = 0
const [LATEST, EARLIEST] = [-1n, -2n]

class Driver {
  constructor(bootstrap) {
    this.base = {
      clientId: 'conformance',
      bootstrapBrokers: bootstrap.split(','),
      metadataMaxAge: 1000,
      autocreateTopics: true,
    }
    this.admin = new Admin(this.base)
    this.producers = new Map()
    this.member = null
  }

  hello() {
    return {
      client: `@platformatic/kafka ${version}`,
      // zstd is Node's own, from version 22 on.
      codecs: ['none', 'gzip', 'snappy', 'lz4', ...('zstdCompressSync' in zlib ? ['zstd'] : [])],
      lacks: [],
      // It reads raw snappy; most clients write the framed form.
      cannot_read_codecs: ['snappy'],
    }
  }

  // Records

  async produce({ topic, partition, codec, acks, idempotent, records }) {
    if (!this.producers.has(idempotent)) {
      this.producers.set(idempotent, new Producer({ ...this.base, idempotent }))
    }
    const messages = records.map((record) => ({
      topic,
      partition,
      key: bytesOrNull(record.key),
      value: bytesOrNull(record.value),
      headers: new Map(record.headers.map(([name, v]) => [Buffer.from(name), bytesOrNull(v)])),
      timestamp: record.timestamp === null ? undefined : BigInt(record.timestamp),
    }))
    const settings = { acks: ACKS[acks], compression: codec, idempotent }
    const { offsets } = await this.producers.get(idempotent).send({ messages, ...settings })
    // All messages of a send to one partition are one batch.
    const base = offsets?.find((row) => row.partition === partition)?.offset
    return records.map((_, index) => (base === undefined ? null : Number(base) + index))
  }

  async consume({ topic, partition, from, count, timeout_ms: timeout }) {
    const deadline = Date.now() + timeout
    const records = []
    do {
      const next = from + records.length
      const offsets = [{ topic, partition, offset: BigInt(next) }]
      const mode = { mode: MessagesStreamModes.MANUAL, offsets }
      const reading = await this.#read(`none-${randomUUID()}`, topic, mode)
      // It reads all partitions of a topic.
      const found = () => reading.records.filter((r) => r.partition === partition)
      const enough = () => reading.error || records.length + found().length >= count
      await until(deadline - Date.now(), enough)
      await reading.close()
      records.push(...found())
    } while (records.length < count && Date.now() < deadline)
    return records.slice(0, count)
  }

  /**
   * A consumer that collects what it reads. Its stream ends with an error when a node that it read
   * from is no longer in the metadata; what an application does then is to open another.
   */
  async #read(groupId, topic, settings) {
    const consumer = new Consumer({ ...this.base, groupId, maxWaitTime: 250 })
    // What was read before may be another member's to commit from now on.
    let joined = 0
    consumer.on('consumer:group:join', () => {
      reading.positions.clear()
      joined += 1
    })
    const reading = { consumer, topic, records: [], positions: new Map(), error: null }
    reading.isCurrent = (record) => record.joined === joined
    const stream = await consumer.consume({ topics: [topic], autocommit: false, ...settings })
    stream.on('data', (message) => {
      reading.records.push({ ...recordRead(message), joined })
    })
    stream.on('error', (error) => (reading.error = error))
    reading.close = async () => {
      if (!reading.error) {
        await stream.close()
        await consumer.close(true)
        return
      }
      // It says goodbye to a coordinator that may be gone.
      const closed = consumer.close(true).catch((error) => console.error(`closing: ${error}`))
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 2_000))])
    }
    reading.again = () => this.#read(groupId, topic, settings)
    return reading
  }

  async offset_for_timestamp({ topic, partition, timestamp }) {
    const offset = await this.#offset(topic, partition, BigInt(timestamp))
    return offset < 0 ? null : offset
  }

  async offsets({ topic, partition }) {
    return {
      earliest: await this.#offset(topic, partition, EARLIEST),
      latest: await this.#offset(topic, partition, LATEST),
    }
  }

  async #offset(topic, partition, timestamp) {
    const partitions = [{ partitionIndex: partition, timestamp }]
    const [row] = await this.admin.listOffsets({ topics: [{ name: topic, partitions }] })
    return Number(row.partitions[0].offset)
  }

  // Groups

  async subscribe({ group, topic, session_timeout_ms: sessionTimeout }) {
    this.member = await this.#read(group, topic, {
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: 'earliest',
      sessionTimeout,
      heartbeatInterval: 500,
    })
  }

  async poll({ ms }) {
    await until(ms, () => this.member.error || this.member.records.length > 0)
    if (this.member.error) {
      this.member.positions.clear()
      await this.member.close()
      this.member = await this.member.again()
    }
    const assignments = this.member.consumer.assignments ?? []
    const assigned = assignments.flatMap((assignment) => assignment.partitions).sort()
    const records = this.member.records.splice(0)
    for (const { partition, offset } of records.filter(this.member.isCurrent)) {
      this.member.positions.set(partition, BigInt(offset) + 1n)
    }
    return { assigned, records }
  }

  async commit() {
    const { consumer, positions, topic } = this.member
    const assigned = (consumer.assignments ?? []).flatMap((assignment) => assignment.partitions)
    const owned = [...positions].filter(([partition]) => assigned.includes(partition))
    const offsets = owned.map(([partition, offset]) => ({
      topic,
      partition,
      offset,
      leaderEpoch: -1,
    }))
    if (offsets.length === 0) {
      return
    }
    try {
      await consumer.commit({ offsets })
    } catch (error) {
      // A consumer goes on with the coordinator it found first, also when that is another one or
      // gone (https://github.com/platformatic/kafka/issues/290): only another consumer helps.
      this.member.error = error
      throw error
    }
  }

  async unsubscribe() {
    await this.member.close()
    this.member = null
  }

  async committed({ group, topic, partition }) {
    const [found] = await this.admin.listConsumerGroupOffsets({ groups: [group] })
    const rows = found.topics.find((row) => row.name === topic)?.partitions ?? []
    const row = rows.find((row) => row.partitionIndex === partition)
    return row === undefined ? null : Number(row.committedOffset)
  }

  async list_groups() {
    return [...(await this.admin.listGroups()).keys()]
  }

  async describe_group({ group }) {
    const described = (await this.admin.describeGroups({ groups: [group] })).get(group)
    return { state: described.state.toLowerCase(), members: described.members.size }
  }

  async delete_group({ group }) {
    await this.admin.deleteGroups({ groups: [group] })
  }

  // Topics

  async create_topic({ topic, partitions, configs }) {
    const entries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    await this.admin.createTopics({ topics: [topic], partitions, replicas: -1, configs: entries })
  }

  list_topics() {
    return this.admin.listTopics()
  }

  async describe_topic({ topic }) {
    const metadata = await this.admin.metadata({ topics: [topic], forceUpdate: true })
    return metadata.topics.get(topic).partitionsCount
  }

  async delete_topic({ topic }) {
    await this.admin.deleteTopics({ topics: [topic] })
  }

  async describe_configs({ topic }) {
    const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }]
    const [described] = await this.admin.describeConfigs({ resources })
    return Object.fromEntries(described.configs.map((entry) => [entry.name, entry.value]))
  }

  async alter_configs({ topic, configs }) {
    const entries = Object.entries(configs).map(([name, value]) => ({
      name,
      value,
      configOperation: INCREMENTAL_SET,
    }))
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
    await this.admin.incrementalAlterConfigs({ resources: [{ ...resource, configs: entries }] })
  }

  async create_partitions({ topic, total }) {
    const wanted = { name: topic, count: total, assignments: null }
    await this.admin.createPartitions({ topics: [wanted] })
  }

  async delete_records({ topic, partition, before }) {
    const partitions = [{ partition, offset: BigInt(before) }]
    await this.admin.deleteRecords({ topics: [{ name: topic, partitions }] })
  }
}

function recordRead(message) {
  return {
    key: hexOrNull(message.key),
    value: hexOrNull(message.value),
    headers: [...message.headers].map(([name, value]) => [name.toString(), hexOrNull(value)]),
    timestamp: Number(message.timestamp),
    partition: message.partition,
    offset: Number(message.offset),
  }
}

await serve(new Driver(process.argv[2]))
