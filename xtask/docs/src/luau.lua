-- Luau's own, as far as Lua 5.4 lacks it.

---As type.
---@param value any
---@return string
function typeof(value) end

---As table.unpack.
---@param list any[]
---@param first? number
---@param last? number
---@return any ...
function unpack(list, first, last) end

---A list of n times the value.
---@param n number
---@param value? any
---@return table
function table.create(n, value) end

---Position of a value in a list.
---@param list any[]
---@param value any
---@param first? number
---@return number?
function table.find(list, value, first) end

---A shallow copy.
---@param t table
---@return table
function table.clone(t) end

---Takes everything out and keeps the room.
---@param t table
function table.clear(t) end

---Makes a table read-only.
---@param t table
---@return table
function table.freeze(t) end

---Is it read-only?
---@param t table
---@return boolean
function table.isfrozen(t) end

---The largest positive key.
---@param t table
---@return number
function table.maxn(t) end

---The nearest number in a range.
---@param x number
---@param least number
---@param most number
---@return number
function math.clamp(x, least, most) end

----1, 0 or 1.
---@param x number
---@return number
function math.sign(x) end

---The nearest whole number; halves go away from 0.
---@param x number
---@return number
function math.round(x) end

---a + (b - a) * t.
---@param a number
---@param b number
---@param t number
---@return number
function math.lerp(a, b, t) end

---Maps one range onto another.
---@param x number
---@param from_least number
---@param from_most number
---@param to_least number
---@param to_most number
---@return number
function math.map(x, from_least, from_most, to_least, to_most) end

---x ^ y.
---@param x number
---@param y number
---@return number
function math.pow(x, y) end

---Logarithm to base 10.
---@param x number
---@return number
function math.log10(x) end

---The parts between separators; a comma by default.
---@param text string
---@param separator? string
---@return string[]
function string.split(text, separator) end

---A block of bytes.
---@class buffer
buffer = {}

---A buffer of zeros.
---@param bytes number
---@return buffer
function buffer.create(bytes) end

---A buffer with a text's bytes.
---@param text string
---@return buffer
function buffer.fromstring(text) end

---Its bytes as a text.
---@param b buffer
---@return string
function buffer.tostring(b) end

---Its bytes.
---@param b buffer
---@return number
function buffer.len(b) end

---Copies bytes.
---@param to buffer
---@param at number
---@param from buffer
---@param first? number
---@param count? number
function buffer.copy(to, at, from, first, count) end

---Fills with a byte.
---@param b buffer
---@param at number
---@param byte number
---@param count? number
function buffer.fill(b, at, byte, count) end

---Bytes as a text.
---@param b buffer
---@param at number
---@param count number
---@return string
function buffer.readstring(b, at, count) end

---Writes a text's bytes.
---@param b buffer
---@param at number
---@param text string
---@param count? number
function buffer.writestring(b, at, text, count) end

---The number at a byte offset: signed, 8 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readi8(b, at) end

---Writes a number at a byte offset: signed, 8 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writei8(b, at, x) end

---The number at a byte offset: unsigned, 8 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readu8(b, at) end

---Writes a number at a byte offset: unsigned, 8 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writeu8(b, at, x) end

---The number at a byte offset: signed, 16 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readi16(b, at) end

---Writes a number at a byte offset: signed, 16 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writei16(b, at, x) end

---The number at a byte offset: unsigned, 16 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readu16(b, at) end

---Writes a number at a byte offset: unsigned, 16 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writeu16(b, at, x) end

---The number at a byte offset: signed, 32 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readi32(b, at) end

---Writes a number at a byte offset: signed, 32 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writei32(b, at, x) end

---The number at a byte offset: unsigned, 32 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readu32(b, at) end

---Writes a number at a byte offset: unsigned, 32 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writeu32(b, at, x) end

---The number at a byte offset: floating point, 32 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readf32(b, at) end

---Writes a number at a byte offset: floating point, 32 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writef32(b, at, x) end

---The number at a byte offset: floating point, 64 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readf64(b, at) end

---Writes a number at a byte offset: floating point, 64 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writef64(b, at, x) end

---Numbers of 32 bits.
bit32 = {}

---And.
---@param ... number
---@return number
function bit32.band(...) end

---Or.
---@param ... number
---@return number
function bit32.bor(...) end

---Exclusive or.
---@param ... number
---@return number
function bit32.bxor(...) end

---Is the And of all not 0?
---@param ... number
---@return boolean
function bit32.btest(...) end

---Not.
---@param x number
---@return number
function bit32.bnot(x) end

---Leading zeros.
---@param x number
---@return number
function bit32.countlz(x) end

---Trailing zeros.
---@param x number
---@return number
function bit32.countrz(x) end

---Bytes in reverse order.
---@param x number
---@return number
function bit32.byteswap(x) end

---Shift to the left.
---@param x number
---@param bits number
---@return number
function bit32.lshift(x, bits) end

---Shift to the right.
---@param x number
---@param bits number
---@return number
function bit32.rshift(x, bits) end

---Shift to the right, with the sign.
---@param x number
---@param bits number
---@return number
function bit32.arshift(x, bits) end

---Rotate to the left.
---@param x number
---@param bits number
---@return number
function bit32.lrotate(x, bits) end

---Rotate to the right.
---@param x number
---@param bits number
---@return number
function bit32.rrotate(x, bits) end

---Some of its bits as a number.
---@param x number
---@param first number
---@param width? number
---@return number
function bit32.extract(x, first, width) end

---The number with some bits replaced.
---@param x number
---@param value number
---@param first number
---@param width? number
---@return number
function bit32.replace(x, value, first, width) end
