// A driver around KafkaJS.
//
// KafkaJS leaves snappy, lz4 and zstd to plug-ins; those used here need no compiler. It consumes
// only in groups, so reading without one uses a group nobody else knows.

import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import * as zstd from '@bokuweb/zstd-wasm'
import kafkajs from 'kafkajs'
import SnappyCodec from 'kafkajs-snappy'
import lz4 from 'lz4-napi'
import { Refused, bytesOrNull, hexOrNull, serve, until } from './protocol.mjs'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
const { version } = createRequire(import.meta.url)('kafkajs/package.json')

await zstd.init()
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
})

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
const ACKS = { 0: 0, 1: 1, all: -1 }
const TOPIC_ALREADY_EXISTS = 36

/**
 * Disconnects a consumer that nobody needs any more. One that crashes meanwhile, as it may when its
 * coordinator goes, never tells the end that this waits for
 * (https://github.com/tulios/kafkajs/issues/1596): it is left to its session's end then.
 */
async function letGo(consumer) {
  await within(10_000, consumer.disconnect())
}

/** Awaits something for so long; whether it came. */
async function within(milliseconds, something) {
  let timer
  const over = new Promise((resolve) => (timer = setTimeout(resolve, milliseconds, false)))
  const came = await Promise.race([something.then(() => true), over])
  clearTimeout(timer)
  return came
}

/**
 * Ends the process when nothing but KafkaJS runs any more: a consumer whose brokers went may ask for
 * the next ones in a loop that never yields (https://github.com/tulios/kafkajs/issues/1384), so that
 * not even a timer fires. Another thread looks whether one does.
 */
function endIfItSpins() {
  const beats = new Int32Array(new SharedArrayBuffer(4))
  setInterval(() => Atomics.add(beats, 0, 1), 200).unref()
  const watch = () => {
    const { workerData } = require('node:worker_threads')
    let known = -1
    setInterval(() => {
      const now = Atomics.load(workerData, 0)
      if (now === known) {
        process.kill(process.pid, 'SIGKILL')
      }
      known = now
    }, 10_000)
  }
  new Worker(`(${watch})()`, { eval: true, workerData: beats }).unref()
}

/** The last things that KafkaJS had to say. */
class Trail {
  lines = []

  logCreator = () => ({ namespace, log }) => {
    const { timestamp, message, error, broker, groupId } = log
    const about = [namespace, broker, groupId, error].filter(Boolean).join(' ')
    this.lines = [...this.lines.slice(-7), `${timestamp} ${about}: ${message}`]
  }
}

class Driver {
  constructor(bootstrap) {
    this.trail = new Trail()
    this.kafka = new Kafka({
      clientId: 'conformance',
      brokers: bootstrap.split(','),
      logLevel: logLevel.WARN,
      logCreator: this.trail.logCreator,
    })
    this.admin = this.kafka.admin()
    this.connected = this.admin.connect()
    this.producers = new Map()
    this.member = null
  }

  async hello() {
    await this.connected
    return {
      client: `kafkajs ${version}`,
      codecs: Object.keys(CODECS),
      // Headers are an object from name to one value or a list.
      lacks: ['header-order'],
      cannot_write: ['null-header-values'],
    }
  }

  // Records

  async produce({ topic, partition, codec, acks, idempotent, records }) {
    if (!this.producers.has(idempotent)) {
      const producer = this.kafka.producer({
        idempotent,
        maxInFlightRequests: 1,
        allowAutoTopicCreation: true,
      })
      await producer.connect()
      this.producers.set(idempotent, producer)
    }
    const messages = records.map((record) => ({
      partition,
      key: bytesOrNull(record.key),
      value: bytesOrNull(record.value),
      headers: headersToWrite(record.headers),
      timestamp: record.timestamp === null ? undefined : String(record.timestamp),
    }))
    const [written] = await this.producers.get(idempotent).send({
      topic,
      messages,
      acks: ACKS[acks],
      compression: CODECS[codec],
    })
    // All messages of a send to one partition are one batch.
    const base = written?.baseOffset === undefined ? null : Number(written.baseOffset)
    return records.map((_, index) => (base === null || base < 0 ? null : base + index))
  }

  async consume({ topic, partition, from, count, timeout_ms: timeout }) {
    const reading = await this.#read(`none-${randomUUID()}`, topic, {})
    reading.consumer.seek({ topic, partition, offset: String(from) })
    // What came before the seek took effect does not count.
    const wanted = () =>
      reading.records.filter((r) => r.partition === partition && r.offset >= from)
    await until(timeout, () => reading.records.length >= count && wanted().length >= count)
    await letGo(reading.consumer)
    const unique = new Map(wanted().map((record) => [record.offset, record]))
    return [...unique.values()].slice(0, count)
  }

  /** A consumer that collects what it reads and knows what it is assigned. */
  async #read(groupId, topic, settings) {
    const consumer = this.kafka.consumer({
      groupId,
      maxWaitTimeInMs: 250,
      metadataMaxAge: 1000,
      ...settings,
    })
    const reading = { consumer, topic, records: [], assigned: [], positions: new Map() }
    let joined = 0
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      reading.assigned = payload.memberAssignment[topic] ?? []
      // What was read before may be another member's to commit from now on.
      reading.positions.clear()
      joined += 1
    })
    reading.isCurrent = (record) => record.joined === joined
    consumer.on(consumer.events.REBALANCING, () => {
      reading.assigned = []
    })
    const begin = async () => {
      await consumer.connect()
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          reading.records.push({ ...recordRead(partition, message), joined })
        },
      })
    }
    if (!(await within(60_000, begin()))) {
      throw new Error(`the consumer does not begin; lately: ${this.trail.lines.join('; ')}`)
    }
    return reading
  }

  async offset_for_timestamp({ topic, partition, timestamp }) {
    const found = await this.admin.fetchTopicOffsetsByTimestamp(topic, timestamp)
    const offset = Number(found.find((row) => row.partition === partition).offset)
    // Where there is none KafkaJS answers with the end.
    const { latest } = await this.offsets({ topic, partition })
    return offset === latest ? null : offset
  }

  async offsets({ topic, partition }) {
    const rows = await this.admin.fetchTopicOffsets(topic)
    const row = rows.find((row) => row.partition === partition)
    return { earliest: Number(row.low), latest: Number(row.high) }
  }

  // Groups

  async subscribe({ group, topic, session_timeout_ms: sessionTimeout }) {
    this.member = await this.#read(group, topic, { sessionTimeout, heartbeatInterval: 500 })
  }

  async poll({ ms }) {
    await until(ms, () => this.member.records.length > 0)
    const records = this.member.records.splice(0)
    for (const { partition, offset } of records.filter(this.member.isCurrent)) {
      this.member.positions.set(partition, offset + 1)
    }
    return { assigned: [...this.member.assigned].sort(), records }
  }

  async commit() {
    const { consumer, positions, topic } = this.member
    const offsets = [...positions].map(([partition, next]) => ({
      topic,
      partition,
      offset: String(next),
    }))
    await consumer.commitOffsets(offsets)
  }

  async unsubscribe() {
    await this.member.consumer.disconnect()
    this.member = null
  }

  async committed({ group, topic, partition }) {
    const [found] = await this.admin.fetchOffsets({ groupId: group, topics: [topic] })
    const offset = Number(found.partitions.find((row) => row.partition === partition).offset)
    return offset < 0 ? null : offset
  }

  async list_groups() {
    return (await this.admin.listGroups()).groups.map((group) => group.groupId)
  }

  async describe_group({ group }) {
    const [described] = (await this.admin.describeGroups([group])).groups
    return { state: described.state.toLowerCase(), members: described.members.length }
  }

  async delete_group({ group }) {
    await this.admin.deleteGroups([group])
  }

  // Topics

  async create_topic({ topic, partitions, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const wanted = { topic, numPartitions: partitions, replicationFactor: -1, configEntries }
    // KafkaJS does not throw this one.
    if (!(await this.admin.createTopics({ topics: [wanted] }))) {
      throw new Refused(TOPIC_ALREADY_EXISTS, `${topic} exists`)
    }
  }

  list_topics() {
    return this.admin.listTopics()
  }

  async describe_topic({ topic }) {
    return (await this.admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
  }

  async delete_topic({ topic }) {
    await this.admin.deleteTopics({ topics: [topic] })
  }

  async describe_configs({ topic }) {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }]
    const [described] = (await this.admin.describeConfigs({ resources })).resources
    return Object.fromEntries(
      described.configEntries.map((entry) => [entry.configName, entry.configValue]),
    )
  }

  async alter_configs({ topic, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic, configEntries }
    await this.admin.alterConfigs({ resources: [resource] })
  }

  async create_partitions({ topic, total }) {
    await this.admin.createPartitions({ topicPartitions: [{ topic, count: total }] })
  }

  async delete_records({ topic, partition, before }) {
    const partitions = [{ partition, offset: String(before) }]
    // It looks for the leader before it asks for it, unless something else asked.
    await this.admin.fetchTopicOffsets(topic)
    await this.admin.deleteTopicRecords({ topic, partitions })
  }
}

/** Headers as KafkaJS takes them: a name that occurs again has a list of values. */
function headersToWrite(pairs) {
  const headers = {}
  for (const [name, text] of pairs) {
    const value = bytesOrNull(text)
    headers[name] = name in headers ? [headers[name], value].flat() : value
  }
  return headers
}

function recordRead(partition, message) {
  const headers = Object.entries(message.headers ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one) => [name, hexOrNull(one)]),
  )
  return {
    key: hexOrNull(message.key),
    value: hexOrNull(message.value),
    headers,
    timestamp: Number(message.timestamp),
    partition,
    offset: Number(message.offset),
  }
}

endIfItSpins()
await serve(new Driver(process.argv[2]))
