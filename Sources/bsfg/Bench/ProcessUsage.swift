internal import Glibc

/// What a process has used so far, as the kernel counts it.
struct ProcessUsage: Sendable {
    /// User and system time.
    var cpuSeconds = 0.0
    var residentBytes = 0
    /// The most it ever had resident, or since `forgetPeak`.
    var peakBytes = 0

    init?(_ pid: pid_t) {
        guard let stat = try? SmallText.read("/proc/\(pid)/stat"),
            let status = try? SmallText.read("/proc/\(pid)/status"),
            // The name in parentheses may hold anything.
            let end = stat.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = stat[(end + 1)...].split(separator: 0x20)
        guard fields.count > 12, let user = Double(String(decoding: fields[11], as: UTF8.self)),
            let system = Double(String(decoding: fields[12], as: UTF8.self))
        else { return nil }
        cpuSeconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
        for line in status.split(separator: 0x0A) {
            let words = String(decoding: line, as: UTF8.self).split { $0 == " " || $0 == "\t" }
            guard words.count >= 2, let kibibytes = Int(words[1]) else { continue }
            if words[0] == "VmRSS:" { residentBytes = kibibytes << 10 }
            if words[0] == "VmHWM:" { peakBytes = kibibytes << 10 }
        }
    }

    /// From now on the peak counts from what is resident now.
    static func forgetPeak(_ pid: pid_t) -> Bool {
        let descriptor = open("/proc/\(pid)/clear_refs", O_WRONLY)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return write(descriptor, "5", 1) == 1
    }
}

/// The machine that figures belong to.
struct MachineDescription: Sendable {
    let kernel: String
    let cores: Int

    static var here: MachineDescription {
        var name = utsname()
        uname(&name)
        let release = withUnsafeBytes(of: &name.release) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return MachineDescription(
            kernel: release, cores: sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    var text: String { "Linux \(kernel), \(cores) cores" }

    var json: JSONOutput {
        .object([("kernel", .text(kernel)), ("cores", .integer(Int64(cores)))])
    }
}
