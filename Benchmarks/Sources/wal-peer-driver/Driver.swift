import Glibc
import WriteAheadLog

func complain(_ sentence: String) {
    let line = Array((sentence + "\n").utf8)
    _ = write(STDERR_FILENO, line, line.count)
}

func fail(_ sentence: String) -> Never {
    complain("wal-peer-driver: \(sentence)")
    exit(1)
}

/// Runs the log in the workloads that other logs are measured by:
///
///     wal-peer-driver NAME WORKLOAD SIZE SECONDS|MIB DIR
///
///     w1       one writer, one record durable after the other
///     w2       64 appends of one record in flight, each told when it is durable
///     w3       1,000 records a commit
///     w4       nothing waited for; 8 MiB in memory at most, the clock stops when all is durable
///     fill     so many MiB, all durable, then this process kills itself
///     recover  opens, appends one keyed record durably and reads the last one
///     read     opens and reads everything twice, every checksum verified; the second pass counts
///
/// prints `records<TAB>seconds<TAB>p50_us<TAB>p99_us`.
@main
enum Driver {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 6, let subject = Subject(name: arguments[1]),
            let size = Int(arguments[3]), (16...1 << 20).contains(size),
            let amount = Double(arguments[4]), amount >= 0
        else {
            complain(
                "usage: wal-peer-driver NAME w1|w2|w3|w4|fill|recover|read SIZE SECONDS|MIB DIR\n"
                    + "NAME: bsfg, bsfg-blocking, bsfg-completion, with -silstrict and -keys")
            exit(2)
        }
        do {
            let measurement = try run(
                arguments[2], subject, size: size, amount: amount, directory: arguments[5])
            print(measurement.line)
            fflush(nil)
            if arguments[2] == "fill" { kill(getpid(), SIGKILL) }
            // As a process that is killed ends: what was told is on disk.
            _exit(0)
        } catch { fail("\(error)") }
    }

    static func run(
        _ workload: String, _ subject: Subject, size: Int, amount: Double, directory: String
    ) throws -> Measurement {
        switch workload {
        case "recover": return try recover(subject, size: size, directory: directory)
        case "read": return try read(try subject.open(directory))
        default: break
        }
        let records = Records(bytes: size)
        let log = try subject.open(directory)
        prepare(log)
        switch workload {
        case "w1":
            return try appendOneAfterAnother(log, subject, records, batchCount: 1, seconds: amount)
        case "w2":
            return try appendInFlight(
                log, subject, records, batchCount: 1, inFlight: 64, seconds: amount)
        case "w3":
            return try appendOneAfterAnother(
                log, subject, records, batchCount: 1000, seconds: amount)
        case "w4": return try appendBuffered(log, subject, records, seconds: amount)
        case "fill":
            let count = Int(amount) * (1 << 20) / size
            let appender = BufferedAppender(log)
            let filler = Filler(records, keyed: subject.isKeyed)
            for _ in 0..<count {
                try filler.next { (key, content, payload) throws(LogError) in
                    try appender.append(key: key, content: content, payload: payload)
                }
            }
            try appender.flush()
            return Measurement(records: count)
        default: fail("no workload is called \(workload)")
        }
    }

    /// From opening to the first acknowledged keyed append and a read of the last record.
    static func recover(_ subject: Subject, size: Int, directory: String) throws -> Measurement {
        let began = nanoseconds()
        let log = try subject.open(directory)
        let opened = nanoseconds()
        let filler = Filler(Records(bytes: size, count: 1), keyed: true)
        let prepared = nanoseconds()
        let batch = log.makeBatch()
        try filler.fill(batch, count: 1)
        let receipt = try log.append(batch)
        var found = 0
        try log.read(from: receipt.nextOffset - 1) { record in
            found += record.payload.count
            return true
        }
        guard found == size else { fail("the last record has \(found) bytes") }
        // Making the records to append is the benchmark's work, not the log's.
        let seconds = Double(nanoseconds() - prepared + opened - began) / 1e9
        return Measurement(records: Int(receipt.nextOffset), seconds: seconds)
    }

    static func read(_ log: Log) throws -> Measurement {
        var measurement = Measurement()
        for _ in 0..<2 {
            var bytes = 0
            measurement.records = 0
            let began = nanoseconds()
            let next = try log.read(from: log.firstOffset) { record in
                bytes += record.payload.count
                measurement.records += 1
                return true
            }
            measurement.seconds = Double(nanoseconds() - began) / 1e9
            guard next == log.headOffset, bytes > 0 else { fail("read up to \(next) only") }
        }
        return measurement
    }
}
